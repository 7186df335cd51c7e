//! The pages before any script runs: their language, what browsers keep of them, a client's look, and hostile input.

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::Gateway;
use crate::support::gateway::{Browser, Phone, file};

const PAGES: [&str; 4] = ["/", "/s/AAAAAAAAAAAAAAAAAAAAAA", "/share", "/share/AAAAAAAAAAAAAAAAAAAAAA"];

async fn get(gateway: &Gateway, path: &str, headers: &[(&'static str, &str)]) -> Response {
    let mut request = reqwest::Client::new().get(gateway.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// A gateway whose `clients` are these tables.
async fn with_clients(clients: &str) -> (Gateway, tempfile::TempDir) {
    let (directory, config) = file(clients);
    (Gateway::builder().arg("--config", config.to_str().unwrap()).start().await, directory)
}

/// The addresses of the files that a page uses.
fn files_of(html: &str) -> Vec<&str> {
    let found = ["src=\"", "href=\""].into_iter().flat_map(|start| html.split(start).skip(1));
    let mut all: Vec<_> = found.map(|rest| rest.split('"').next().unwrap()).collect();
    all.retain(|address| address.starts_with("/static/"));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_in_the_readers_language_from_its_first_byte() {
    let gateway = Gateway::start().await;
    for (path, heading) in
        [("/", "登录 Web"), ("/s/x", "确认登录"), ("/share", "分享您在 Web 的登录"), ("/share/x", "与您分享")]
    {
        for (asked, accepted) in [(path.to_owned(), "zh-CN,en;q=0.8"), (format!("{path}?lang=zh"), "en")] {
            let answer = get(&gateway, &asked, &[("accept-language", accepted)]).await;
            assert_eq!(answer.headers()["content-language"], "zh", "{asked}");
            assert_eq!(answer.headers()["vary"], "accept-language");
            let html = answer.text().await.unwrap();
            assert!(html.starts_with("<!DOCTYPE html>\n<html lang=\"zh\">"), "{html}");
            assert!(html.contains(&format!("<title>{heading}</title>")), "{html}");
            assert!(html.contains("需要 JavaScript"), "without scripts it says so in the same language");
        }
        let answer = get(&gateway, path, &[("accept-language", "fr,zh;q=0")]).await;
        assert_eq!(answer.headers()["content-language"], "en", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_texts_of_a_code_are_for_every_origin() {
    let gateway = Gateway::start().await;
    for (path, accepted, tag) in [("", "zh", "zh"), ("?lang=zh", "en", "zh"), ("?lang=xx", "fr", "en")] {
        let headers = [("accept-language", accepted), ("origin", "https://elsewhere.example")];
        let answer = get(&gateway, &format!("/static/texts.json{path}"), &headers).await;
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("access-control-allow-origin"), "*");
        assert_eq!(header("cross-origin-resource-policy"), "cross-origin");
        assert_eq!(header("cache-control"), "public, max-age=300");
        assert_eq!((header("content-language"), header("vary")), (tag.to_owned(), "accept-language".to_owned()));
        let body: Value = answer.json().await.unwrap();
        let table = std::fs::read_to_string(format!("{}/static/texts/{tag}.json", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let table: Value = serde_json::from_str(&table).unwrap();
        assert_eq!(body, json!({ "lang": tag, "texts": table["code"] }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_kept_for_good_under_the_address_that_has_its_hash() {
    let gateway = Gateway::start().await;
    let mut seen = 0;
    for path in PAGES {
        let html = get(&gateway, path, &[]).await.text().await.unwrap();
        for address in files_of(&html) {
            seen += 1;
            let plain = address.split('?').next().unwrap();
            let hashed = get(&gateway, address, &[]).await;
            assert_eq!(hashed.status(), StatusCode::OK, "{address}");
            assert_eq!(hashed.headers()["cache-control"], "public, max-age=31536000, immutable", "{address}");
            assert_eq!(hashed.headers()["access-control-allow-origin"], "*");
            assert_eq!(hashed.headers()["cross-origin-resource-policy"], "cross-origin");
            let etag = hashed.headers()["etag"].to_str().unwrap().to_owned();
            for other in
                [plain.to_owned(), format!("{plain}?v=AAAAAAAAAAAAAAAA"), format!("{plain}?v="), format!("{plain}?x=1")]
            {
                let answer = get(&gateway, &other, &[]).await;
                assert_eq!(
                    (answer.status(), &answer.headers()["cache-control"]),
                    (StatusCode::OK, &"no-cache".parse().unwrap())
                );
            }
            // A proxy that compresses makes the tag a weak one.
            for known in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
                let answer = get(&gateway, plain, &[("if-none-match", &known)]).await;
                assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{known}");
                assert_eq!(answer.headers()["etag"], etag.as_str());
                assert_eq!(answer.headers()["cache-control"], "no-cache");
            }
            for unknown in ["\"x\"", "W/\"x\"", "garbage"] {
                assert_eq!(get(&gateway, plain, &[("if-none-match", unknown)]).await.status(), StatusCode::OK);
            }
        }
    }
    assert!(seen > 15, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_pressed_for_who_can_read_it() {
    let gateway = Gateway::start().await;
    let path = "/static/scangate.js";
    let plain = get(&gateway, path, &[]).await;
    let plain_tag = plain.headers()["etag"].clone();
    assert!(!plain.headers().contains_key("content-encoding"));
    let script = plain.bytes().await.unwrap();
    for accepts in ["gzip", "br, GZIP;q=0.5", "deflate,gzip , *"] {
        let pressed = get(&gateway, path, &[("accept-encoding", accepts)]).await;
        assert_eq!(pressed.headers()["content-encoding"], "gzip", "{accepts}");
        assert_eq!(pressed.headers()["vary"], "accept-encoding");
        let tag = pressed.headers()["etag"].to_str().unwrap().to_owned();
        assert_ne!(tag, plain_tag.to_str().unwrap(), "they are not the same bytes");
        let bytes = pressed.bytes().await.unwrap();
        assert!(bytes.len() < script.len() / 2, "{} bytes", bytes.len());
        let mut read = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut read).unwrap();
        assert_eq!(read, script);
        let known = get(&gateway, path, &[("accept-encoding", accepts), ("if-none-match", &tag)]).await;
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    }
    for accepts in ["", "br", "gzip;q=0", "gzip; q=0.0, br", "xgzip"] {
        let answer = get(&gateway, path, &[("accept-encoding", accepts)]).await;
        assert!(!answer.headers().contains_key("content-encoding"), "{accepts}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pages_are_made_of_is_not_served() {
    let gateway = Gateway::start().await;
    let mut count = 0;
    for folder in ["", "parts/", "texts/"] {
        for entry in std::fs::read_dir(format!("{}/static/{folder}", env!("CARGO_MANIFEST_DIR"))).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".html") || name.ends_with(".json") {
                count += 1;
                let answer = get(&gateway, &format!("/static/{folder}{name}"), &[]).await;
                assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{folder}{name}");
            }
        }
    }
    assert!(count > 10, "{count}");
    for path in
        ["/static/", "/static/parts", "/static/../Cargo.toml", "/static/%2e%2e/Cargo.toml", "/static//style.css"]
    {
        assert_eq!(get(&gateway, path, &[]).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_its_name_and_colours_in_the_first_byte() {
    let (gateway, _directory) = with_clients(
        "[[clients]]\nid = \"plain\"\n[[clients]]\nid = \"shop\"\nname = \"Shop\"\ncolor = \"#7A0019\"\nflows = [\"login\", \"share\"]\n\
         [[clients]]\nid = \"own\"\ncolor = \"#0f6457\"\ncolor_dark = \"#62cdb6\"\n",
    )
    .await;
    for (path, title) in [("/", "Sign in to Shop"), ("/share", "Share your sign‑in to Shop")] {
        let html = get(&gateway, &format!("{path}?client_id=shop"), &[]).await.text().await.unwrap();
        let heading = format!(">{}</h1>", title.replace("Shop", "<bdi>Shop</bdi>"));
        assert!(html.contains(&format!("<title>{title}</title>")) && html.contains(&heading), "{html}");
        assert!(
            html.replace("&#x2f;", "/").contains("<link rel=\"stylesheet\" href=\"/v1/clients/shop/theme.css\">"),
            "{html}"
        );
        let html = get(&gateway, &format!("{path}?client_id=plain"), &[]).await.text().await.unwrap();
        assert!(!html.contains("theme.css"), "{html}");
        let unknown = get(&gateway, &format!("{path}?client_id=nobody"), &[]).await.text().await.unwrap();
        assert!(!unknown.contains("Shop") && !unknown.contains("plain"), "{unknown}");
    }

    let browser = Browser::new(&gateway);
    let ticket = browser.create_with(json!({ "client_id": "shop" })).await;
    assert_eq!(ticket["client"]["theme"], "/v1/clients/shop/theme.css");
    let asked: Value =
        Phone::of("ada", &gateway).act(ticket["ticket_id"].as_str().unwrap(), "scan").await.json().await.unwrap();
    assert_eq!(asked["client"]["theme"], ticket["client"]["theme"], "whoever scans learns it");
    let plain = browser.create_with(json!({ "client_id": "plain" })).await;
    assert!(plain["client"].get("theme").is_none(), "{plain}");

    let theme = get(&gateway, "/v1/clients/shop/theme.css", &[("origin", "https://elsewhere.example")]).await;
    assert_eq!(theme.headers()["content-type"], "text/css; charset=utf-8");
    assert_eq!(theme.headers()["access-control-allow-origin"], "*");
    assert_eq!(theme.headers()["cross-origin-resource-policy"], "cross-origin");
    assert_eq!(theme.headers()["cache-control"], "public, max-age=300");
    let css = theme.text().await.unwrap();
    assert!(css.starts_with(":root{--scangate-accent:#7a0019;--scangate-accent-dark:#"), "{css}");
    let own = get(&gateway, "/v1/clients/own/theme.css", &[]).await.text().await.unwrap();
    assert_eq!(own, ":root{--scangate-accent:#0f6457;--scangate-accent-dark:#62cdb6}\n");
    for id in ["plain", "nobody"] {
        assert_eq!(get(&gateway, &format!("/v1/clients/{id}/theme.css"), &[]).await.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_that_cannot_be_read_start_nothing() {
    let (_directory, config) = file("[[clients]]\nid = \"web\"\ncolor = \"#ffcc00\"\ncolor_dark = \"#222222\"\n");
    let mut command = Gateway::builder().arg("--config", config.to_str().unwrap()).command();
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("client \"web\": color: white on #ffcc00 has a contrast of 1.5"), "{said}");
    assert!(
        said.contains("client \"web\": color_dark: #222222 on the dark card, #181f1d, has a contrast of 1."),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_stays_text() {
    let (gateway, _directory) = with_clients(
        "[[clients]]\nid = \"web\"\nname = '''</title></script><script>alert(1)</script>\"'&<!--'''\nflows = [\"login\", \"share\"]\n",
    )
    .await;
    let queries = [
        "",
        "?lang=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "?client_id=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "?client_id=web&state=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&x='><script>alert(1)</script>",
        "?{{1}}&{%25x%25}",
    ];
    for path in PAGES {
        for query in queries {
            let answer = get(&gateway, &format!("{path}{query}"), &[]).await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}{query}");
            let html = answer.text().await.unwrap();
            assert_eq!(html.matches("<script").count(), html.matches("</script>").count(), "{html}");
            assert!(!html.contains("<script>") && !html.contains("<!--") && !html.contains("'><"), "{html}");
            assert_eq!(html.matches("</title>").count(), 1, "{html}");
            let block = html.split_once("id=\"texts\">").unwrap().1.split_once("</script>").unwrap().0;
            assert!(!block.contains('<'), "{block}");
            assert!(serde_json::from_str::<Value>(block).unwrap()["retry"].is_string(), "{block}");
        }
    }
    let html = get(&gateway, "/", &[]).await.text().await.unwrap();
    assert!(html.contains("<title>Sign in to &lt;"), "{html}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_may_post_a_form() {
    let (gateway, _directory) = with_clients("[[clients]]\nid = \"shop\"\nflows = [\"login\", \"share\"]\n").await;
    for path in ["/", "/?client_id=shop", "/?client_id=nobody", "/share?client_id=shop", "/s/x", "/share/x"] {
        let answer = get(&gateway, path, &[]).await;
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("; form-action 'none'; "), "{path}: {policy}");
        assert!(policy.contains("; require-trusted-types-for 'script'; trusted-types 'none'"), "{policy}");
    }
}

/// Apps once got a JWT by a form of this page. Nobody is left on a page that leads nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_asks_for_a_form_post_is_told_on_a_page() {
    let (gateway, _directory) = with_clients("[[clients]]\nid = \"shop\"\n").await;
    for path in ["/?client_id=shop&return_to=https://shop.example/in", "/?return_to=&state=x"] {
        let answer = get(&gateway, path, &[("accept", "text/html")]).await;
        assert_eq!(answer.status(), 400, "{path}");
        let page = answer.text().await.unwrap();
        assert!(
            page.contains("<h1>This sign\u{2011}in link isn’t valid</h1>") && page.contains("sign_in_address"),
            "{page}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_deny_what_they_do_not_use_and_each_answer_says_who_may_embed_it() {
    let (gateway, _directory) = with_clients("[[clients]]\nid = \"shop\"\ncolor = \"#7A0019\"\n").await;
    for path in PAGES {
        let denied = get(&gateway, path, &[]).await.headers()["permissions-policy"].to_str().unwrap().to_owned();
        for feature in ["camera", "microphone", "geolocation", "payment", "usb", "publickey-credentials-get"] {
            assert!(denied.contains(&format!("{feature}=()")), "{path}: {denied}");
        }
        assert!(denied.split(", ").all(|part| part.ends_with("=()")), "{denied}");
    }
    let ticket = Browser::new(&gateway).create().await;
    for (path, embeddable) in [
        ("/", false),
        ("/s/x", false),
        ("/share", false),
        ("/share/x", false),
        ("/nothing", false),
        ("/.well-known/jwks.json", false),
        ("/v1/openapi.json", false),
        (&*format!("/v1/tickets/{ticket}"), false),
        (&*format!("/v1/tickets/{ticket}/qr.svg"), true),
        (&*format!("/v1/tickets/{ticket}/qr.png"), true),
        ("/v1/clients/shop/theme.css", true),
        ("/static/texts.json", true),
        ("/static/scangate.js", true),
        ("/static/scangate-look.js", true),
        ("/static/scangate.css", true),
        ("/static/favicon.svg", true),
    ] {
        let answer = get(&gateway, path, &[]).await;
        let policies: Vec<_> = answer.headers().get_all("cross-origin-resource-policy").iter().collect();
        assert_eq!(policies, [if embeddable { "cross-origin" } else { "same-origin" }], "{path}");
        assert_eq!(answer.headers()["cross-origin-opener-policy"], "same-origin", "{path}");
    }
}
