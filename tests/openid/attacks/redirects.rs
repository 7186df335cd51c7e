//! Redirect URIs that are not the app's (RFC 9700 §4.1.3, RFC 3986 §6.2.1).

use reqwest::StatusCode;

use super::page;
use crate::support::gateway::Phone;
use crate::support::openid::{App, Screen, Tokens, gateway, refused as refused_by_token_endpoint};

/// Redirect URIs that one or another parser takes for `https://app.example/cb`.
fn tricks() -> Vec<String> {
    let hosts = [
        "https://app.example@evil.example/cb",
        "https://evil.example@app.example/cb",
        "https://user:password@app.example/cb",
        "https://@app.example/cb",
        "https://app.example:443/cb",
        "https://app.example:8443/cb",
        "https://app.example:/cb",
        "https://app.example./cb",
        "https://App.example/cb",
        "https://app.EXAMPLE/cb",
        "HTTPS://app.example/cb",
        "http://app.example/cb",
        "https://www.app.example/cb",
        "https://app.example.evil.example/cb",
        "https://evilapp.example/cb",
        "https://example/cb",
        "https://app.example\u{0301}/cb",
        "https://xn--app-7ea.example/cb",
        "https://\u{0430}pp.example/cb",
        "https://app\u{3002}example/cb",
        "https://app%2eexample/cb",
        "https://[::1]/cb",
        "https:app.example/cb",
        "https:/app.example/cb",
        "https:///app.example/cb",
        "https:\\\\app.example\\cb",
        "https://app.example\\@evil.example/cb",
        "https://evil.example#@app.example/cb",
        "https://evil.example?@app.example/cb",
        "//app.example/cb",
        "app.example/cb",
        "/cb",
        "javascript:alert(1)//https://app.example/cb",
        "data:text/html,https://app.example/cb",
        "view-source:https://app.example/cb",
    ];
    let paths = [
        "",
        "/",
        "/CB",
        "/cb/",
        "/cb//",
        "//cb",
        "/./cb",
        "/x/../cb",
        "/cb/.",
        "/cb/..",
        "/cb/../cb",
        "/%63b",
        "/c%62",
        "/cb%2f",
        "/cb%00",
        "/cb%20",
        "/cb ",
        " /cb",
        "/cb\t",
        "/cb\n",
        "/cb\r\nx: y",
        "/cb;x",
        "/cb?",
        "/cb?x",
        "/cb?x=1",
        "/cb?code=stolen",
        "/cb#",
        "/cb#x",
        "/cb#code=1",
        "/cb,https://evil.example/",
        "/cb https://evil.example/",
        "/*",
        "/cb*",
        "/c",
        "/cbx",
        "/cb\u{200b}",
        "/cb\u{feff}",
        "/cb.",
    ];
    let mut tricks: Vec<_> = hosts.iter().map(|&text| text.to_owned()).collect();
    tricks.extend(paths.iter().map(|path| format!("https://app.example{path}")));
    tricks.extend([" https://app.example/cb", "\"https://app.example/cb\"", "*", "null"].map(str::to_owned));
    tricks.push(format!("https://app.example/cb?{}", "x".repeat(5000)));
    tricks
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_very_redirect_uri_counts() {
    let app = App::new("app");
    let gateway = gateway(&[&app]).await;
    let screen = Screen::new(&gateway);
    let unknown = page(screen.arrive(&app.request().set("client_id", "nobody").query()).await, "unknown").await;
    assert_eq!(unknown.0, StatusCode::BAD_REQUEST);
    let tricks = tricks();
    assert!(tricks.len() > 60, "{}", tricks.len());
    for trick in tricks {
        for request in [app.request(), app.request().set("prompt", "none"), app.request().set("response_type", "token")]
        {
            let shown = page(screen.arrive(&request.set("redirect_uri", &trick).query()).await, &trick).await;
            assert_eq!(shown, unknown, "{trick}");
        }
        // The page's script gets no ticket for it either.
        let request = app.request().set("redirect_uri", &trick);
        let body = serde_json::json!({"authorization": request.query()});
        let answer = screen.post("/v1/tickets", &body).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{trick}");
    }
    let good = app.request();
    let twice = good.clone().and("redirect_uri", &app.redirect_uri).query();
    let evil = good.clone().and("redirect_uri", "https://evil.example/").query();
    let none = good.clone().without("redirect_uri").query();
    let array = good.clone().without("redirect_uri").and("redirect_uri[]", &app.redirect_uri).query();
    for query in [twice, evil, none, array, good.set("redirect_uri", "").query(), String::new()] {
        assert_eq!(page(screen.arrive(&query).await, &query).await, unknown, "{query}");
    }
}

/// Every redirect URI that differs by one character: one more, one less, another one.
#[tokio::test(flavor = "multi_thread")]
async fn no_mutation_of_a_redirect_uri_counts() {
    let app = App::new("app");
    let gateway = gateway(&[&app]).await;
    let screen = Screen::new(&gateway);
    let good: Vec<char> = app.redirect_uri.chars().collect();
    let mut tried = 0;
    for at in 0..=good.len() {
        for character in ['/', '.', '@', ':', '?', '#', '%', '\\', '*', 'A', '\t', '\u{0}'] {
            for until in [at, at + 1] {
                let mutated = good[..at].iter().chain([&character]).chain(good.get(until..).unwrap_or_default());
                let mutated: String = mutated.collect();
                if mutated == app.redirect_uri {
                    continue;
                }
                let answer = screen.arrive(&app.request().set("redirect_uri", &mutated).query()).await;
                assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{mutated:?}");
                assert_eq!(answer.headers().get("location"), None, "{mutated:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

/// A native app listens on a free port of its machine, so there, and only there, the port may be any (RFC 8252 §7.3).
#[tokio::test(flavor = "multi_thread")]
async fn only_the_port_of_a_loopback_address_may_differ() {
    let uris = ["http://127.0.0.1/cb", "http://[::1]:7000/cb", "http://localhost:9000/cb"];
    let (native, web) = (App::public("native").with_redirect_uris(&uris), App::new("web").with_redirect_uris(&uris));
    let gateway = gateway(&[&native, &web]).await;
    let screen = Screen::new(&gateway);
    let refused = async |app: &App, uri: &str| {
        let answer = screen.arrive(&app.request().set("redirect_uri", uri).set("prompt", "none").query()).await;
        let location = answer.headers().get("location").map(|location| location.to_str().unwrap().to_owned());
        assert!(location.as_ref().is_none_or(|location| location.starts_with(&format!("{uri}?"))), "{location:?}");
        (answer.status(), location) == (StatusCode::BAD_REQUEST, None)
    };
    let elsewhere = ["http://127.0.0.1:51004/cb", "http://127.0.0.1:1/cb", "http://[::1]:51004/cb"];
    for uri in uris.iter().chain(&elsewhere) {
        assert!(!refused(&native, uri).await, "{uri}");
        assert_eq!(refused(&web, uri).await, elsewhere.contains(uri), "{uri}");
    }
    for uri in [
        "http://127.0.0.1:51004/cb/",
        "http://127.0.0.1:51004/cb?x",
        "http://127.0.0.1:51004/CB",
        "http://127.0.0.1:51004/x/../cb",
        "http://127.0.0.1:51004",
        "http://127.0.0.2:51004/cb",
        "http://127.1:51004/cb",
        "http://2130706433:51004/cb",
        "http://0x7f000001:51004/cb",
        "http://127.0.0.1.evil.example:51004/cb",
        "http://127.0.0.1:51004@evil.example/cb",
        "http://127.0.0.1@evil.example/cb",
        "http://user@127.0.0.1:51004/cb",
        "http://127.0.0.1:51004#@evil.example/cb",
        "http://127.0.0.1:51004\\@evil.example/cb",
        "http://127.0.0.1:65536/cb",
        "http://127.0.0.1:/cb",
        "http://127.0.0.1:+80/cb",
        "http://127.0.0.1:-1/cb",
        "http://127.0.0.1: 80/cb",
        "http://127.0.0.1:80:80/cb",
        "http://127.0.0.1:8\u{0660}/cb",
        "https://127.0.0.1:51004/cb",
        "HTTP://127.0.0.1:51004/cb",
        "http://[::2]:51004/cb",
        "http://[0:0:0:0:0:0:0:1]:51004/cb",
        "http://[::1%25lo]:51004/cb",
        "http://[::ffff:127.0.0.1]:51004/cb",
        "http://localhost:9001/cb",
        "http://localhost/cb",
        "http://localhost.:9000/cb",
    ] {
        assert!(refused(&native, uri).await && refused(&web, uri).await, "{uri}");
    }
    // The answer goes to that port, and the code is valid only with the exact address of its request.
    let request = native.request().set("redirect_uri", "http://127.0.0.1:51004/cb");
    let answer = screen.sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
    assert_eq!(answer.to, "http://127.0.0.1:51004/cb");
    for uri in ["http://127.0.0.1:51005/cb", "http://127.0.0.1/cb"] {
        let other = native.exchange(&gateway, answer.code(), &request.clone().set("redirect_uri", uri)).await;
        assert_eq!(refused_by_token_endpoint(other).await, (400, "invalid_grant".to_owned()), "{uri}");
    }
    Tokens::of(native.exchange(&gateway, answer.code(), &request).await).await;
}
