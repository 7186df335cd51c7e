//! Redirect URIs that are not the app's (RFC 9700 §4.1.3, RFC 3986 §6.2.1).

use reqwest::StatusCode;

use super::page;
use crate::support::openid::{App, Screen, gateway};

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
        // Neither does the page's script get a ticket for it.
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
