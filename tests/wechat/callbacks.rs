//! Callbacks that are forged, replayed, malformed, late or too many; and those that come while the store is away.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;

use super::*;
use crate::support::wechat::{Callback, encrypt, padded, sha1};

/// What a callback that is not to be heeded is answered.
struct Refusal {
    status: u16,
    code: &'static str,
    /// What the metric calls it.
    result: &'static str,
}

const FORGED: Refusal = Refusal { status: 403, code: "callback_refused", result: "forged" };
const STALE: Refusal = Refusal { result: "stale", ..FORGED };
const REPLAYED: Refusal = Refusal { result: "replayed", ..FORGED };
const UNREADABLE: Refusal = Refusal { result: "unreadable", ..FORGED };
const MALFORMED: Refusal = Refusal { status: 400, code: "callback_malformed", result: "malformed" };

impl Site {
    /// Sends what is to be refused.
    async fn is_refused(&self, what: &str, callback: Callback, refusal: &Refusal) {
        let before = self.callbacks(refusal.result).await;
        let answer = callback.send(&self.gateway).await;
        let (status, body) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        println!("{what}: {status} {} {}", body["code"], body["detail"]);
        assert_eq!((status, body["code"].as_str()), (refusal.status, Some(refusal.code)), "{what}: {body}");
        assert_eq!(
            self.callbacks(refusal.result).await,
            before + 1.0,
            "{what}: it is not counted as {}",
            refusal.result
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_stale_callbacks_are_refused_in_plain_mode() {
    let site = Site::plain().await;
    let page = site.page().await;
    let message = scan(OPENID, &page.code.scene);
    let good = || site.sender.callback(&message);
    let other_token = Sender { token: "BBBBB".into(), ..site.sender.clone() };
    site.is_refused("another token", other_token.callback(&message), &FORGED).await;
    site.is_refused("no signature", good().with("signature", ""), &FORGED).await;
    site.is_refused("half a signature", good().with("signature", "f464b24fc39322e44b38"), &FORGED).await;
    site.is_refused("another nonce", good().with("nonce", "1"), &FORGED).await;
    site.is_refused("another timestamp", good().with("timestamp", &(now() - 1).to_string()), &FORGED).await;
    // WeChat's own example, of 2024.
    let published = good().with("signature", "f464b24fc39322e44b38aa78f5edd27bd1441696");
    let published = published.with("timestamp", "1714036504").with("nonce", "1514711492");
    site.is_refused("the published example", published, &STALE).await;
    for ahead in [-310, 310, -100_000_000] {
        let sender = Sender { ahead, ..site.sender.clone() };
        site.is_refused(&format!("{ahead} s ahead"), sender.callback(&message), &STALE).await;
    }
    for timestamp in ["", "yesterday", "-1", "+1", "1e9", "99999999999999999999"] {
        let signature = sha1(vec![TOKEN, timestamp, "7"]);
        let callback = good().with("timestamp", timestamp).with("nonce", "7").with("signature", &signature);
        site.is_refused(&format!("the timestamp {timestamp:?}"), callback, &MALFORMED).await;
    }
    site.is_refused("a long nonce", good().with("nonce", &"1".repeat(300)), &MALFORMED).await;
    site.is_refused("an encrypted body", Sender::encrypted(KEY).callback(&message), &UNREADABLE).await;
    assert_eq!(page.state().await, "pending");
    for ahead in [-290, 290] {
        let sender = Sender { ahead, ..site.sender.clone() };
        assert!(sender.tell(&site.gateway, &message).await.is_some(), "{ahead} s ahead");
    }
    assert_eq!(page.state().await, "scanned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_good_for_one_body_in_plain_mode() {
    let redis = Redis::start();
    for site in [Site::plain().await, Site::with("", Some(redis), &[]).await] {
        let page = site.page().await;
        let body = scan("oMallory", &page.code.scene).into_bytes();
        // What the gateway has no use for stands in a proxy's log as well.
        for message in [text(OPENID, "hello"), event(OPENID, "LOCATION", "", now())] {
            let seen = site.sender.callback(&message);
            assert_eq!(seen.send(&site.gateway).await.text().await.unwrap(), "success");
            site.is_refused("another body", Callback { body: body.clone(), ..seen.clone() }, &REPLAYED).await;
            assert_eq!(seen.send(&site.gateway).await.text().await.unwrap(), "success", "the same is a repetition");
        }
        let check = site.sender.callback("").with("echostr", "1");
        for _ in 0..2 {
            assert_eq!(reqwest::get(check.url(&site.gateway)).await.unwrap().status(), StatusCode::OK);
        }
        site.is_refused("the signature of a check", Callback { body, ..check }, &REPLAYED).await;
        assert_eq!(page.state().await, "pending");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_unreadable_callbacks_are_refused_in_encrypted_mode() {
    let site = Site::encrypted().await;
    let page = site.page().await;
    let message = scan(OPENID, &page.code.scene);
    let good = || site.sender.callback(&message);
    let with = |sender: Sender| sender.callback(&message);
    let raw = |bytes: Vec<u8>| site.sender.with_encrypted(&encrypt(KEY, bytes));

    site.is_refused("another token", with(Sender { token: "BBBBB".into(), ..site.sender.clone() }), &FORGED).await;
    site.is_refused("no msg_signature", good().with("msg_signature", ""), &FORGED).await;
    let plain = sha1(vec![TOKEN, &good().query[3].1, "x"]);
    site.is_refused("a forged msg_signature", good().with("msg_signature", &plain), &FORGED).await;
    let swapped = good();
    let signature = swapped.query[0].1.clone();
    site.is_refused("signature as msg_signature", swapped.with("msg_signature", &signature), &FORGED).await;
    let other = Callback { body: site.sender.callback(&text(OPENID, "x")).body, ..good() };
    site.is_refused("the body of another", other, &FORGED).await;
    site.is_refused("300 s late", with(Sender { ahead: -310, ..site.sender.clone() }), &STALE).await;
    // As an old one is whose time and nonce have changed places, which the signature does not tell.
    let old = site.sender.callback(&event(OPENID, "SCAN", &page.code.scene, now() - 86_400));
    site.is_refused("a message of yesterday in a query of today", old, &STALE).await;
    site.is_refused("a plain body", Sender::plain().callback(&message), &UNREADABLE).await;
    site.is_refused(
        "another app id inside",
        with(Sender { app_id: "wx0000000000000000".into(), ..site.sender.clone() }),
        &UNREADABLE,
    )
    .await;
    site.is_refused(
        "a longer app id inside",
        with(Sender { app_id: format!("{APP_ID}0"), ..site.sender.clone() }),
        &UNREADABLE,
    )
    .await;
    site.is_refused("no app id inside", with(Sender { app_id: String::new(), ..site.sender.clone() }), &UNREADABLE)
        .await;
    site.is_refused("another key", with(Sender::encrypted(&"B".repeat(43))), &UNREADABLE).await;
    let encrypted = encrypt(KEY, padded(&message, APP_ID));
    for cut in [1, 2, 4, 22, 64] {
        let text = &encrypted[..encrypted.len() - cut];
        site.is_refused(&format!("{cut} characters of base64 less"), site.sender.with_encrypted(text), &UNREADABLE)
            .await;
    }
    for text in ["", "A", "====", "not base64", &STANDARD.encode([7; 32])] {
        site.is_refused(&format!("{text:?} instead"), site.sender.with_encrypted(text), &UNREADABLE).await;
    }
    let unpadded = |count: u8| {
        let mut bytes = padded(&message, APP_ID);
        *bytes.last_mut().unwrap() = count;
        bytes
    };
    for count in [0, 33, 255] {
        site.is_refused(&format!("a padding of {count}"), raw(unpadded(count)), &UNREADABLE).await;
    }
    let mut bytes = padded(&message, APP_ID);
    bytes[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
    site.is_refused("a length of 4 GiB", raw(bytes), &UNREADABLE).await;
    site.is_refused(
        "not UTF-8",
        raw(padded(&message, APP_ID).iter().map(|byte| if *byte == b'x' { 0xff } else { *byte }).collect()),
        &UNREADABLE,
    )
    .await;
    assert_eq!(page.state().await, "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_messages_are_refused_in_both_modes() {
    for site in [Site::plain().await, Site::encrypted().await] {
        let page = site.page().await;
        let scene = &page.code.scene;
        let good = scan(OPENID, scene);
        let without =
            |name: &str| good.replace(&format!("<{name}>"), "<Else>").replace(&format!("</{name}>"), "</Else>");
        let field = |xml: &str| good.replace("<Ticket>", &format!("{xml}<Ticket>"));
        let many: String = (0..260).map(|number| format!("<e{number}/>")).collect();
        for (what, message) in [
            ("a document type", format!("<!DOCTYPE xml>{good}")),
            ("an entity", format!("<!DOCTYPE xml [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>{}", field("<A>&a;</A>"))),
            ("an entity that nobody declares", field("<A>&a;</A>")),
            ("a known entity", field("<A>&amp;</A>")),
            ("a character reference", field("<A>&#65;</A>")),
            ("a processing instruction", format!("<?php x?>{good}")),
            ("a comment", field("<!-- x -->")),
            ("an attribute", good.replace("<xml>", "<xml a=\"1\">")),
            ("a field twice", field("<EventKey>x</EventKey>")),
            ("too deep", field("<A><B><C><D><E/></D></C></B></A>")),
            ("too many elements", field(&many)),
            ("a control character", field("<A>\u{1}</A>")),
            ("an end too early", good[..good.len() - 10].to_owned()),
            ("JSON", "{\"MsgType\":\"event\"}".to_owned()),
            ("nothing", String::new()),
            ("no sender", without("FromUserName")),
            ("no receiver", without("ToUserName")),
            ("no time", without("CreateTime")),
            ("no type", without("MsgType")),
            ("a sender that is no id", good.replace(OPENID, "o:1/../2")),
        ] {
            site.is_refused(what, site.sender.callback(&message), &MALFORMED).await;
        }
        let large = field(&format!("<A>{}</A>", "x".repeat(17_000)));
        let answer = site.sender.callback(&large).send(&site.gateway).await;
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(page.state().await, "pending");
        assert!(site.sender.tell(&site.gateway, &good).await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_envelope_of_an_encrypted_message_is_held_to_the_same() {
    let site = Site::encrypted().await;
    let encrypted = encrypt(KEY, padded(&text(OPENID, "x"), APP_ID));
    let envelope = |body: String| Callback { body: body.into_bytes(), ..site.sender.with_encrypted(&encrypted) };
    let part = format!("<Encrypt>{encrypted}</Encrypt>");
    site.is_refused("a document type", envelope(format!("<!DOCTYPE xml><xml>{part}</xml>")), &MALFORMED).await;
    site.is_refused("twice", envelope(format!("<xml>{part}{part}</xml>")), &MALFORMED).await;
    site.is_refused("none", envelope("<xml></xml>".to_owned()), &UNREADABLE).await;
    site.is_refused("deeper", envelope(format!("<xml><A>{part}</A></xml>")), &UNREADABLE).await;
    // The compatible mode sends both; what counts is what is encrypted.
    let both = envelope(scan("oMallory", "x").replace("<Ticket>", &format!("{part}<Ticket>")));
    assert_eq!(both.send(&site.gateway).await.text().await.unwrap(), "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn paddings_of_1_and_above_16_are_read() {
    let site = Site::encrypted().await;
    for padding in [1, 16, 17, 31, 32] {
        let page = site.page().await;
        let mut openid = OPENID.to_owned();
        while padded(&scan(&openid, &page.code.scene), APP_ID).last() != Some(&padding) {
            openid.push('x');
        }
        assert!(site.tell(&scan(&openid, &page.code.scene)).await.contains("The Shop"), "{padding}");
        assert_eq!(page.state().await, "scanned", "{padding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_previous_key_is_read_and_answered_with() {
    let (old, new) = ("o".repeat(43), "n".repeat(43));
    let table = format!("encoding_aes_key = \"{new}\"\nprevious_encoding_aes_key = \"{old}\"");
    let site = Site::with(&table, None, &[]).await;
    for key in [&old, &new] {
        let page = site.page().await;
        // Reading the answer takes the same key.
        let told =
            Sender::encrypted(key).tell(&site.gateway, &scan(&format!("o{}", &key[..1]), &page.code.scene)).await;
        assert!(told.unwrap().contains("The Shop"));
        assert_eq!(page.state().await, "scanned");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_the_address_is_answered_with_what_it_brings() {
    for site in [Site::plain().await, Site::encrypted().await] {
        let get = async |callback: Callback| {
            let callback = callback.with("echostr", "4375120948345356249");
            let response = reqwest::get(callback.url(&site.gateway)).await.unwrap();
            (response.status().as_u16(), response.headers()["content-type"].clone(), response.text().await.unwrap())
        };
        let good = Sender::plain().callback("");
        let (status, kind, echo) = get(good.clone()).await;
        assert_eq!((status, kind.to_str().unwrap(), &*echo), (200, "text/plain; charset=utf-8", "4375120948345356249"));
        assert_eq!(get(good.with("nonce", "1")).await.0, 403);
        let stale = Sender { ahead: -301, ..Sender::plain() };
        assert_eq!(get(stale.callback("")).await.0, 403);
        assert_eq!((site.callbacks("checked").await, site.callbacks("stale").await), (1.0, 1.0));
        assert!(site.gateway.log().contains("check its clock"), "whoever enters the address looks there");
    }
}

/// Redis stands still for longer than WeChat waits.
#[tokio::test(flavor = "multi_thread")]
async fn wechat_is_answered_in_time_while_the_store_is_away_and_the_scan_counts_afterwards() {
    let table = format!("encoding_aes_key = \"{KEY}\"");
    let site = Site::with(&table, Some(Redis::start()), &[("--redis-timeout", "1s")]).await;
    let mut page = site.page().await;
    let redis = site.redis.as_ref().unwrap();
    let callback = site.sender.callback(&scan(OPENID, &page.code.scene));
    let http = reqwest::Client::new();
    redis.signal("STOP");
    let started = Instant::now();
    let answer = callback.request(&http, &site.gateway).send().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!((answer.status(), &*answer.text().await.unwrap()), (StatusCode::OK, "success"));
    assert_eq!(site.callbacks("late").await, 1.0);
    redis.signal("CONT");
    let number = page.number().await;
    eventually("the number being waited for", || async {
        site.tell(&text(OPENID, "?")).await.contains("两位数字").then_some(())
    })
    .await;
    assert!(site.tell(&text(OPENID, &number)).await.contains("已登录"));
    page.claims(&site.gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_callbacks_are_worked_on_at_once_than_there_is_room_for() {
    let site = Site::with("", Some(Redis::start()), &[("--redis-timeout", "30s")]).await;
    site.page().await;
    let redis = site.redis.as_ref().unwrap();
    redis.signal("STOP");
    // Making a client takes long, and so would 260 of them.
    let http = reqwest::Client::new();
    let callbacks: Vec<_> = (0..260).map(|id| site.sender.callback(&text_of(OPENID, "42", id))).collect();
    let sent = callbacks.iter().map(|callback| callback.request(&http, &site.gateway).send());
    let answers: Vec<_> = join_all(sent).await.into_iter().map(Result::unwrap).collect();
    let refused = answers.iter().filter(|answer| answer.status() == StatusCode::SERVICE_UNAVAILABLE).count();
    assert_eq!((refused, site.callbacks("overloaded").await), (4, 4.0));
    redis.signal("CONT");
    eventually("room", || async {
        let answer = site.sender.callback(&text(OPENID, "42")).send(&site.gateway).await;
        (answer.status() == StatusCode::OK && answer.text().await.unwrap() != "success").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_comes_twice_at_once_is_done_once() {
    let site = Site::with("", Some(Redis::start()), &[]).await;
    let mut page = site.page().await;
    site.tell(&scan(OPENID, &page.code.scene)).await;
    let number = page.number().await;
    site.api.delay(Duration::from_millis(1500));
    let message = text(OPENID, &number);
    let http = reqwest::Client::new();
    let callbacks: Vec<_> = (0..20).map(|_| site.sender.callback(&message)).collect();
    let answers = join_all(
        callbacks
            .iter()
            .map(async |callback| callback.request(&http, &site.gateway).send().await.unwrap().text().await.unwrap()),
    )
    .await;
    // Who comes while it is being done is told that all is well; who comes afterwards, what the first one was told.
    let replied = answers.iter().filter(|answer| answer.contains("已登录")).count();
    let successes = answers.iter().filter(|answer| *answer == "success").count();
    assert!(replied >= 1 && successes >= 1 && replied + successes == 20, "{answers:?}");
    assert_eq!(site.api.count("user/info"), 1);
    page.claims(&site.gateway).await;
}
