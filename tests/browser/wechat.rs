//! The sign-in page of a client whose people scan with WeChat.

use super::Stage;
use crate::support::browser::Device;
use crate::support::gateway::file;
use crate::support::wechat::{APP_ID, Api, Sender, scan, text};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_to_scan_with_wechat_and_to_send_the_number_there() {
    let api = Api::start().await;
    let (_directory, config) = file(&api.table(""));
    let stage = Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await;
    let screen = stage.driver.open(Device::Desk).await;
    for (lang, title, detail) in [("en", "Scan with WeChat", "in the chat"), ("zh", "请用微信扫描", "微信会话")]
    {
        screen.goto(&stage.edge.url(&format!("/?client_id=shop&lang={lang}"))).await;
        screen.until("waiting").await;
        assert_eq!(screen.text(".scangate-title").await, title);
        assert!(!screen.sees(".scangate-link").await, "only WeChat knows what to do with it");
        screen.keep_page(&format!("wechat-{lang}")).await;
        let code = api.codes().pop().unwrap();
        assert_eq!(screen.scan().await, code.url);

        let sender = Sender::plain();
        sender.tell(&stage.gateway, &scan(&format!("oAda-{lang}"), &code.scene)).await.unwrap();
        screen.until("scanned").await;
        let number = screen.text(".scangate-number").await;
        assert!(screen.text(".scangate-detail").await.contains(detail));
        screen.keep_page(&format!("wechat-number-{lang}")).await;
        sender.tell(&stage.gateway, &text(&format!("oAda-{lang}"), &number)).await.unwrap();
        screen.until("confirmed").await;
        assert_eq!(screen.text("[data-claim=sub]").await, format!("wechat:{APP_ID}:oAda-{lang}"));
    }
    screen.end().await;
}
