//! The ten safety rules (docs/security.md), each with tests that fail without it.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::gateway::{Browser, Phone, SECRET, file, token};
use crate::support::{Gateway, Redis, SOON, eventually};

/// What a caller can tell an answer by, but for what is different every time.
async fn looks(response: Response) -> (StatusCode, HashMap<String, String>, Value) {
    let status = response.status();
    let ignored = ["x-request-id", "date"];
    let headers = response
        .headers()
        .iter()
        .filter(|(name, _)| !ignored.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let mut body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default();
    body.as_object_mut().map(|body| body.remove("request_id"));
    (status, headers, body)
}

mod rule_1_knowing_the_id_gives_nothing {
    use super::*;

    const UNKNOWN: &str = "AAAAAAAAAAAAAAAAAAAAAA";

    #[tokio::test(flavor = "multi_thread")]
    async fn a_foreign_browser_is_told_the_same_as_for_an_id_that_never_existed() {
        let gateway = Gateway::start().await;
        let (owner, stranger) = (Browser::new(&gateway), Browser::new(&gateway));
        // The stranger has a binding of its own: a cookie alone must not help either.
        stranger.create().await;
        let id = owner.create().await;
        Phone::of("ada", &gateway).approve(&id).await;
        for path in ["", "/events", "?wait=1&revision=0", "?revision=99&wait=1"] {
            let foreign = looks(stranger.get(&format!("/v1/tickets/{id}{path}")).await).await;
            let unknown = looks(stranger.get(&format!("/v1/tickets/{UNKNOWN}{path}")).await).await;
            assert_eq!(foreign, unknown, "{path}");
            assert_eq!(foreign.0, StatusCode::NOT_FOUND);
            let nobody = looks(reqwest::get(gateway.url(&format!("/v1/tickets/{id}{path}"))).await.unwrap()).await;
            assert_eq!(nobody.0, StatusCode::NOT_FOUND);
            assert_eq!(nobody.2, unknown.2);
        }
        // Nothing was used up by the strangers: the owner is still handed the token.
        let answer: Value = owner.read(&id).await.json().await.unwrap();
        assert!(answer["token"]["access_token"].is_string());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_ticket_with_all_its_seats_taken_is_still_unknown_to_a_stranger() {
        let gateway = Gateway::builder().arg("--streams-per-ticket", "1").start().await;
        let (owner, stranger) = (Browser::new(&gateway), Browser::new(&gateway));
        stranger.create().await;
        let id = owner.create().await;
        let _open = owner.events(&id).await;
        for path in ["/events", "?wait=5&revision=1"] {
            assert_eq!(owner.get(&format!("/v1/tickets/{id}{path}")).await.status(), StatusCode::TOO_MANY_REQUESTS);
            let foreign = looks(stranger.get(&format!("/v1/tickets/{id}{path}")).await).await;
            assert_eq!(foreign, looks(stranger.get(&format!("/v1/tickets/{UNKNOWN}{path}")).await).await);
        }
        assert_eq!(gateway.metric("scangate_streams_opened_total").await, 1.0, "strangers were registered");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_foreign_browser_cannot_end_a_ticket() {
        let gateway = Gateway::start().await;
        let (owner, stranger) = (Browser::new(&gateway), Browser::new(&gateway));
        stranger.create().await;
        let id = owner.create().await;
        for (method, path) in [(Method::DELETE, ""), (Method::POST, "/cancel")] {
            let request = |id: &str| stranger.request(method.clone(), &format!("/v1/tickets/{id}{path}")).send();
            let foreign = looks(request(&id).await.unwrap()).await;
            assert_eq!(foreign, looks(request(UNKNOWN).await.unwrap()).await);
            assert_eq!(foreign.0, StatusCode::NOT_FOUND);
        }
        assert_eq!(owner.read(&id).await.json::<Value>().await.unwrap()["state"], "pending");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_code_can_be_drawn_without_telling_whether_its_ticket_exists() {
        let gateway = Gateway::start().await;
        let id = Browser::new(&gateway).create().await;
        for id in [id.as_str(), UNKNOWN] {
            let response = reqwest::get(gateway.url(&format!("/v1/tickets/{id}/qr.svg"))).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_foreign_person_sees_no_state() {
        let gateway = Gateway::start().await;
        let id = Browser::new(&gateway).create().await;
        Phone::of("ada", &gateway).act(&id, "scan").await;
        let mallory = Phone::of("mallory", &gateway);
        assert_eq!(looks(mallory.read(&id).await).await, looks(mallory.read(UNKNOWN).await).await);
    }
}

mod rule_2_secrets {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_server_makes_ids_and_secrets_and_takes_none_from_a_caller() {
        let gateway = Gateway::start().await;
        let mut seen = std::collections::HashSet::new();
        for _ in 0..50 {
            let browser = Browser::new(&gateway);
            let response = browser.request(Method::POST, "/v1/tickets").json(&json!({})).send().await.unwrap();
            let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
            let secret = cookie.strip_prefix("scangate=").unwrap().split(';').next().unwrap().to_owned();
            assert_eq!(secret.len(), 43);
            assert!(cookie.contains("; HttpOnly; SameSite=Strict") && cookie.contains("Path=/"), "{cookie}");
            let id = response.json::<Value>().await.unwrap()["ticket_id"].as_str().unwrap().to_owned();
            assert!(seen.insert(secret) && seen.insert(id));
        }
        for chosen in [json!({"ticket_id": "AAAAAAAAAAAAAAAAAAAAAA"}), json!({"ticket_secret": "x"})] {
            let browser = Browser::new(&gateway);
            let response = browser.request(Method::POST, "/v1/tickets").json(&chosen).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn redis_holds_no_secret_that_would_open_a_ticket() {
        let redis = Redis::start();
        let gateway = Gateway::on(&redis).await;
        let browser = Browser::new(&gateway);
        let response = browser.request(Method::POST, "/v1/tickets").json(&json!({})).send().await.unwrap();
        let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
        let secret = cookie.strip_prefix("scangate=").unwrap().split(';').next().unwrap().to_owned();
        let id = response.json::<Value>().await.unwrap()["ticket_id"].as_str().unwrap().to_owned();
        Phone::of("ada", &gateway).approve(&id).await;
        let answer: Value = browser.read(&id).await.json().await.unwrap();
        let jwt = answer["token"]["access_token"].as_str().unwrap();
        let stored: Vec<String> = redis.run(&["HVALS", &redis.keys()[0]]);
        let stored = stored.join("\n");
        assert!(stored.contains("claimed"));
        assert!(!stored.contains(&secret) && !stored.contains(jwt));
    }
}

mod rule_3_identity {
    use super::*;
    use jsonwebtoken::{Algorithm, EncodingKey, Header};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_field_never_says_who_it_is() {
        let gateway = Gateway::start().await;
        let id = Browser::new(&gateway).create().await;
        let phone = Phone::of("ada", &gateway);
        for body in [json!({"sub": "bob"}), json!({"user_id": 1}), json!({"scanned_by": {"name": "Bob"}})] {
            assert_eq!(phone.act_with(&id, "scan", body.clone()).await.status(), StatusCode::BAD_REQUEST, "{body}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_bad_token_scans_and_confirms_nothing() {
        let gateway = Gateway::start().await;
        let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &gateway));
        let id = browser.create().await;
        let claims = json!({"iss": "https://id.example", "aud": "scangate", "sub": "ada", "exp": 4_000_000_000_u64});
        let sign = |claims: &Value, secret: &str, algorithm| {
            let key = EncodingKey::from_secret(secret.as_bytes());
            jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
        };
        let but = |name: &str, value: Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            sign(&claims, SECRET, Algorithm::HS256)
        };
        let bad = [
            String::new(),
            "x".to_owned(),
            sign(&claims, "another-secret-0123456789abcdef0123456789", Algorithm::HS256),
            sign(&claims, SECRET, Algorithm::HS512),
            but("exp", json!(1_000_000_000)),
            but("iss", json!("https://evil.example")),
            but("aud", json!("another")),
            but("sub", json!("")),
            format!("{}.", token("ada").rsplit_once('.').unwrap().0),
        ];
        for token in bad {
            let phone = Phone::with_token(token.clone(), &gateway);
            let refused = phone.act(&id, "scan").await;
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{token}");
            assert_eq!(refused.headers()["www-authenticate"], "Bearer");
        }
        ada.act(&id, "scan").await;
        let without =
            reqwest::Client::new().post(gateway.url(&format!("/v1/tickets/{id}/confirm"))).send().await.unwrap();
        assert_eq!(without.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(browser.read(&id).await.json::<Value>().await.unwrap()["state"], "scanned");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_browser_cannot_confirm_its_own_ticket() {
        let gateway = Gateway::start().await;
        let browser = Browser::new(&gateway);
        let id = browser.create().await;
        for action in ["scan", "confirm"] {
            let request = browser.request(Method::POST, &format!("/v1/tickets/{id}/{action}")).json(&json!({}));
            assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_ticket_secret_is_not_a_persons_token() {
        let gateway = Gateway::start().await;
        let browser = Browser::new(&gateway);
        let ticket = browser.create_with(json!({"binding": "bearer"})).await;
        let phone = Phone::with_token(ticket["ticket_secret"].as_str().unwrap().to_owned(), &gateway);
        let refused = phone.act(ticket["ticket_id"].as_str().unwrap(), "scan").await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
}

mod rule_4_one_winner {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_second_scanner_is_refused_and_cannot_confirm() {
        let gateway = Gateway::start().await;
        let (ada, mallory) = (Phone::of("ada", &gateway), Phone::of("mallory", &gateway));
        let browser = Browser::new(&gateway);
        let id = browser.create().await;
        assert_eq!(mallory.act(&id, "confirm").await.json::<Value>().await.unwrap()["code"], "not_scanned");
        assert_eq!(ada.act(&id, "scan").await.status(), StatusCode::OK);
        assert_eq!(ada.act(&id, "scan").await.status(), StatusCode::OK, "the same scanner gets the same answer");
        assert_eq!(mallory.act(&id, "scan").await.json::<Value>().await.unwrap()["code"], "already_scanned");
        assert_eq!(mallory.act(&id, "confirm").await.json::<Value>().await.unwrap()["code"], "not_permitted");
        assert_eq!(mallory.act(&id, "cancel").await.status(), StatusCode::NOT_FOUND);
        assert_eq!(ada.act(&id, "confirm").await.status(), StatusCode::OK);
        assert_eq!(ada.act(&id, "cancel").await.json::<Value>().await.unwrap()["code"], "already_confirmed");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_hundred_parallel_confirms_over_http_confirm_once() {
        let redis = Redis::start();
        let gateways = [Gateway::on(&redis).await, Gateway::on(&redis).await];
        let id = Browser::new(&gateways[0]).create().await;
        Phone::of("ada", &gateways[0]).act(&id, "scan").await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..200 {
            let (phone, id) = (Phone::of("ada", &gateways[number % 2]), id.clone());
            tasks.spawn(async move { phone.act(&id, "confirm").await.json::<Value>().await.unwrap() });
        }
        for answer in tasks.join_all().await {
            assert_eq!((&answer["state"], &answer["revision"]), (&json!("confirmed"), &json!(3)), "{answer}");
        }
        let mut confirmed = 0.0;
        for gateway in &gateways {
            confirmed += gateway.metric("scangate_tickets_total{outcome=\"confirmed\"}").await;
        }
        assert_eq!(confirmed, 1.0);
    }
}

mod rule_5_origins {
    use super::*;

    async fn with_origin() -> (tempfile::TempDir, Gateway) {
        let (directory, config) =
            file("[[clients]]\nid = \"web\"\n[[clients]]\nid = \"shop\"\norigins = [\"https://shop.example.com\"]\n");
        (directory, Gateway::builder().arg("--config", config.to_str().unwrap()).start().await)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cross_site_form_or_fetch_changes_nothing() {
        let (_directory, gateway) = with_origin().await;
        let browser = Browser::new(&gateway);
        let id = browser.create().await;
        let ada = Phone::of("ada", &gateway);
        ada.act(&id, "scan").await;
        let cross_site: [&[(&str, &str)]; 5] = [
            &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")],
            &[("origin", "null")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site")],
            &[("origin", "https://evil.example")],
        ];
        for headers in cross_site {
            for (method, path) in [
                (Method::POST, "/v1/tickets".to_owned()),
                (Method::DELETE, format!("/v1/tickets/{id}")),
                (Method::POST, format!("/v1/tickets/{id}/cancel")),
                (Method::POST, format!("/v1/tickets/{id}/confirm")),
                (Method::POST, format!("/v1/tickets/{id}/scan")),
            ] {
                // Not the browser's own helper, which would add its own origin; the cookie is sent along all the same.
                let mut request = browser.request(Method::GET, &path).bearer_auth(&ada.token).build().unwrap();
                *request.method_mut() = method.clone();
                request.headers_mut().remove("sec-fetch-site");
                for (name, value) in headers {
                    request.headers_mut().insert(*name, value.parse().unwrap());
                }
                let refused = browser.send(request).await;
                assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{method} {path} {headers:?}");
                assert_eq!(refused.json::<Value>().await.unwrap()["code"], "origin_not_allowed");
            }
        }
        assert_eq!(browser.read(&id).await.json::<Value>().await.unwrap()["state"], "scanned");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_form_is_refused_even_where_the_browser_tells_no_origin() {
        let gateway = Gateway::start().await;
        let browser = Browser::new(&gateway);
        let id = browser.create().await;
        for content_type in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"] {
            for path in ["/v1/tickets".to_owned(), format!("/v1/tickets/{id}/cancel")] {
                let mut request = browser
                    .request(Method::GET, &path)
                    .header("content-type", content_type)
                    .body("{}")
                    .build()
                    .unwrap();
                *request.method_mut() = Method::POST;
                request.headers_mut().remove("sec-fetch-site");
                assert_eq!(browser.send(request).await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
            }
        }
        assert_eq!(browser.read(&id).await.json::<Value>().await.unwrap()["state"], "pending");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn reading_changes_nothing_and_opening_the_confirm_page_neither() {
        let gateway = Gateway::start().await;
        let browser = Browser::new(&gateway);
        let id = browser.create().await;
        for path in [format!("/s/{id}"), format!("/v1/tickets/{id}/scan"), format!("/v1/tickets/{id}/confirm")] {
            browser.get(&path).await;
        }
        let ticket: Value = browser.read(&id).await.json().await.unwrap();
        assert_eq!((&ticket["state"], &ticket["revision"]), (&json!("pending"), &json!(1)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_page_of_another_origin_cannot_read_or_claim_with_the_browsers_cookie() {
        let gateway = Gateway::start().await;
        let browser = Browser::new(&gateway);
        let id = browser.create().await;
        Phone::of("ada", &gateway).approve(&id).await;
        for site in ["cross-site", "same-site"] {
            for path in ["", "/events"] {
                let mut request = browser.request(Method::GET, &format!("/v1/tickets/{id}{path}")).build().unwrap();
                request.headers_mut().insert("sec-fetch-site", site.parse().unwrap());
                assert_eq!(browser.send(request).await.status(), StatusCode::NOT_FOUND);
            }
        }
        assert_eq!(Phone::of("ada", &gateway).read(&id).await.json::<Value>().await.unwrap()["state"], "confirmed");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_admin_listener_is_asked_by_its_address_or_by_a_listed_name_and_no_other() {
        let gateway = Gateway::builder().arg("--admin-hosts", "gateway-1,Scangate.Internal").start().await;
        let http = reqwest::Client::new();
        let ask = async |path: &str, host: &str| {
            http.get(format!("{}{path}", gateway.admin)).header("host", host).send().await.unwrap()
        };
        for host in [
            "evil.example",
            "evil.example:9090",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "gateway-1.evil.example",
            "gateway-10",
            "internal",
            "2130706433",
            "%6cocalhost",
        ] {
            for path in ["/metrics", "/readyz", "/healthz", "/nowhere"] {
                let answer = ask(path, host).await;
                assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST, "{host}{path}");
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
                let problem: Value = answer.json().await.unwrap();
                assert_eq!(problem["code"], "unknown_host");
                assert!(problem["detail"].as_str().unwrap().contains("SCANGATE_ADMIN_HOSTS"), "{problem}");
            }
        }
        // What is no host at all is refused as on every listener (RFC 9112 §3.2).
        for host in [
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
            "[::1].evil.example",
            "[::1]evil.example:9090",
            "localhost:9090.evil.example",
            "",
        ] {
            for path in ["/metrics", "/readyz", "/healthz", "/nowhere"] {
                assert_eq!(ask(path, host).await.status(), StatusCode::BAD_REQUEST, "{host}{path}");
            }
        }
        for host in [
            "127.0.0.1",
            "10.0.0.11:9090",
            "[::1]:9090",
            "[fd00::7]",
            "localhost",
            "LOCALHOST:9090",
            "gateway-1",
            "GATEWAY-1:9090",
            "scangate.internal",
        ] {
            assert_eq!(ask("/readyz", host).await.status(), StatusCode::OK, "{host}");
        }
        // What a proxy would be told counts, whatever stands beside it.
        let address = gateway.admin.strip_prefix("http://").unwrap();
        let raw = |request: &str| {
            use std::io::{Read as _, Write as _};

            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer.lines().next().unwrap().to_owned()
        };
        let refused = "HTTP/1.1 421 Misdirected Request";
        let absolute = "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        assert_eq!(raw(absolute), refused);
        // Checks of load balancers name nobody, in HTTP/1.0; browsers never do.
        assert_eq!(raw("GET /readyz HTTP/1.0\r\n\r\n"), "HTTP/1.0 200 OK");
        assert_eq!(raw("GET /readyz HTTP/1.0\r\nHost: evil.example\r\n\r\n"), refused.replace("1.1", "1.0"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_page_whose_name_leads_here_changes_nothing_and_is_told_nothing() {
        let gateway = Gateway::builder().own_identity().arg("--demo", "true").start().await;
        let browser = Browser::new(&gateway);
        let id = browser.create().await;
        // As its browser has it, it is of the same origin; only the name gives it away.
        let rebound = async |method: Method, path: &str| {
            let request = reqwest::Client::new().request(method, gateway.url(path)).header("host", "evil.example");
            let request = request.header("origin", "http://evil.example").header("sec-fetch-site", "same-origin");
            request.json(&json!({"name": "Ada"})).send().await.unwrap().status()
        };
        for path in ["/v1/tickets", "/demo/sign-in"] {
            assert_eq!(rebound(Method::POST, path).await, StatusCode::FORBIDDEN, "{path}");
        }
        for step in ["scan", "confirm", "cancel"] {
            assert_eq!(rebound(Method::POST, &format!("/v1/tickets/{id}/{step}")).await, StatusCode::FORBIDDEN);
        }
        // The browser's cookies are of our name, and are not sent under another.
        assert_eq!(rebound(Method::GET, &format!("/v1/tickets/{id}")).await, StatusCode::NOT_FOUND);
        assert_eq!(browser.read(&id).await.json::<Value>().await.unwrap()["state"], "pending");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn head_hands_nothing_over() {
        let gateway = Gateway::start().await;
        let browser = Browser::new(&gateway);
        let id = browser.create().await;
        Phone::of("ada", &gateway).approve(&id).await;
        for path in ["", "/events"] {
            let answer = browser.request(Method::HEAD, &format!("/v1/tickets/{id}{path}")).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        }
        assert_eq!(Phone::of("ada", &gateway).read(&id).await.json::<Value>().await.unwrap()["state"], "confirmed");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn cors_is_for_listed_origins_alone_and_never_with_cookies() {
        let (_directory, gateway) = with_origin().await;
        let preflight = async |origin: &str| {
            let http = reqwest::Client::new();
            let request = http.request(Method::OPTIONS, gateway.url("/v1/tickets")).header("origin", origin);
            let request = request.header("access-control-request-method", "POST");
            request.header("access-control-request-headers", "content-type").send().await.unwrap()
        };
        let listed = preflight("https://shop.example.com").await;
        assert_eq!(listed.headers()["access-control-allow-origin"], "https://shop.example.com");
        assert_eq!(listed.headers().get("access-control-allow-credentials"), None);
        for origin in
            ["https://evil.example", "https://shop.example.com.evil.example", "http://shop.example.com", "null"]
        {
            assert_eq!(preflight(origin).await.headers().get("access-control-allow-origin"), None, "{origin}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_origin_may_make_tickets_for_its_own_client_alone() {
        let (_directory, gateway) = with_origin().await;
        let create = async |client: &str| {
            let request =
                reqwest::Client::new().post(gateway.url("/v1/tickets")).header("origin", "https://shop.example.com");
            request.json(&json!({"client_id": client, "binding": "bearer"})).send().await.unwrap().status()
        };
        assert_eq!(create("shop").await, StatusCode::CREATED);
        assert_eq!(create("web").await, StatusCode::FORBIDDEN);
    }
}

mod rule_6_redirect_uris {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_redirect_uri_is_an_exact_match() {
        let (_directory, config) = file(
            "[[clients]]\nid = \"web\"\nredirect_uris = [\"https://app.example.com/in\"]\ntoken_auth = \"none\"\n",
        );
        let gateway = Gateway::builder().arg("--config", config.to_str().unwrap()).start().await;
        let browser = Browser::that_follows_nothing(&gateway);
        let ask = async |redirect_uri: &str| {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("client_id", "web"), ("redirect_uri", redirect_uri), ("response_type", "token")])
                .finish();
            browser.get(&format!("/oauth2/authorize?{query}")).await
        };
        let refused = [
            "https://app.example.com/in/",
            "https://app.example.com/in?x=1",
            "https://app.example.com/in#x",
            "https://app.example.com:443/in",
            "https://APP.example.com/in",
            "http://app.example.com/in",
            "https://app.example.com@evil.example/in",
            "//app.example.com/in",
            "javascript:alert(1)",
            "",
        ];
        for redirect_uri in refused {
            let answer = ask(redirect_uri).await;
            assert!(!answer.headers().contains_key("location"), "{redirect_uri}");
            assert_eq!(answer.json::<Value>().await.unwrap()["code"], "sign_in_address", "{redirect_uri}");
        }
        // An error of the request goes to the right address.
        let answer = ask("https://app.example.com/in").await;
        assert!(answer.headers()["location"].to_str().unwrap().starts_with("https://app.example.com/in?error="));
    }
}

mod rule_7_headers {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn pages_send_a_strict_policy() {
        let gateway = Gateway::start().await;
        for path in ["/", "/s/AAAAAAAAAAAAAAAAAAAAAA"] {
            let response = reqwest::get(gateway.url(path)).await.unwrap();
            let headers = response.headers();
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
            assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
            assert_eq!(headers["referrer-policy"], "no-referrer");
            assert_eq!(headers["x-content-type-options"], "nosniff");
            assert_eq!(headers["cache-control"], "no-store");
        }
    }
}

mod rule_8_bounds {
    use super::*;

    async fn problem(response: Response) -> (u16, String) {
        let status = response.status().as_u16();
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        (status, response.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_rate_limit_says_how_long_to_wait_and_is_counted() {
        let gateway = Gateway::builder()
            .arg("--rate-create", "4")
            .arg("--rate-scan", "3")
            .arg("--rate-confirm", "3")
            .arg("--rate-invalid-scan", "2")
            .arg("--rate-invalid-confirm", "2")
            .start()
            .await;
        let browser = Browser::new(&gateway);
        let id = browser.create().await;
        let attempt = async |address: &str, token: &str, action: &str| {
            let request = reqwest::Client::new().post(gateway.url(&format!("/v1/tickets/{id}/{action}")));
            let request = request.header("x-forwarded-for", address).bearer_auth(token).json(&json!({}));
            request.send().await.unwrap()
        };
        let good = token("ada");
        for (address, action, token, allowed, limit) in [
            ("203.0.113.1", "scan", "x", 2, "rate_invalid_scan"),
            ("203.0.113.2", "scan", &good, 3, "rate_scan"),
            ("203.0.113.3", "confirm", "x", 2, "rate_invalid_confirm"),
            ("203.0.113.4", "confirm", &good, 3, "rate_confirm"),
        ] {
            for _ in 0..allowed {
                let status = attempt(address, token, action).await.status();
                assert_ne!(status, StatusCode::TOO_MANY_REQUESTS, "{limit} came too early");
            }
            let refused = attempt(address, token, action).await;
            let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
            assert_eq!(problem(refused).await, (429, "rate_limited".into()));
            assert_eq!(gateway.metric(&format!("scangate_refused_total{{reason=\"{limit}\"}}")).await, 1.0);
        }
        // Neither kind uses up the other's allowance.
        assert_eq!(attempt("203.0.113.2", "x", "scan").await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(attempt("203.0.113.1", &good, "scan").await.status(), StatusCode::CONFLICT);
        // Nor does whoever brings no token at all, however often.
        let nobody = async || {
            let request = reqwest::Client::new().post(gateway.url(&format!("/v1/tickets/{id}/scan")));
            request.header("x-forwarded-for", "203.0.113.5").json(&json!({})).send().await.unwrap().status()
        };
        for _ in 0..8 {
            nobody().await;
        }
        assert_eq!(nobody().await, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(attempt("203.0.113.5", &good, "scan").await.status(), StatusCode::CONFLICT);
        for _ in 0..3 {
            browser.create().await;
        }
        let refused = browser.request(Method::POST, "/v1/tickets").json(&json!({})).send().await.unwrap();
        assert_eq!(problem(refused).await, (429, "rate_limited".into()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bad_tokens_are_limited_on_every_route_that_takes_one() {
        let gateway = Gateway::builder().arg("--rate-invalid-confirm", "2").start().await;
        let id = Browser::new(&gateway).create().await;
        for (method, path) in [(Method::GET, ""), (Method::GET, "/events"), (Method::DELETE, "")] {
            let address = format!("203.0.113.{}", path.len() + method.as_str().len());
            let mut statuses = Vec::new();
            for _ in 0..3 {
                let request =
                    reqwest::Client::new().request(method.clone(), gateway.url(&format!("/v1/tickets/{id}{path}")));
                let request = request.bearer_auth("x").header("x-forwarded-for", &address);
                statuses.push(request.send().await.unwrap().status().as_u16());
            }
            assert_eq!(statuses, [401, 401, 429], "{method} {path}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_address_has_its_own_allowance() {
        let gateway = Gateway::builder().arg("--rate-create", "1").start().await;
        let create = async |address: &str| {
            let request = reqwest::Client::new().post(gateway.url("/v1/tickets")).header("x-forwarded-for", address);
            request.json(&json!({})).send().await.unwrap().status()
        };
        assert_eq!(create("203.0.113.1").await, StatusCode::CREATED);
        assert_eq!(create("203.0.113.1").await, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(create("203.0.113.2").await, StatusCode::CREATED);
        // A /64 is one subscriber.
        assert_eq!(create("2001:db8::1").await, StatusCode::CREATED);
        assert_eq!(create("2001:db8::2").await, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(create("2001:db8:0:1::1").await, StatusCode::CREATED);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn streams_are_bounded_per_ticket_and_free_again_when_they_end() {
        let gateway = Gateway::builder().arg("--streams-per-ticket", "2").start().await;
        let browser = Browser::new(&gateway);
        let id = browser.create().await;
        let (mut one, two) = (browser.events(&id).await, browser.events(&id).await);
        one.expect("pending").await;
        let refused = browser.get(&format!("/v1/tickets/{id}/events")).await;
        assert_eq!(problem(refused).await, (429, "too_many_streams".into()));
        let refused = browser.get(&format!("/v1/tickets/{id}?wait=5&revision=1")).await;
        assert_eq!(problem(refused).await, (429, "too_many_streams".into()));
        assert_eq!(gateway.metric("scangate_refused_total{reason=\"streams_per_ticket\"}").await, 2.0);
        drop(two);
        eventually("a free registration", || async {
            let response = browser.get(&format!("/v1/tickets/{id}/events")).await;
            (response.status() == StatusCode::OK).then_some(())
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn streams_are_bounded_per_address() {
        let gateway = Gateway::builder().arg("--streams-per-address", "1").start().await;
        let browser = Browser::new(&gateway);
        let (one, two) = (browser.create().await, browser.create().await);
        let _open = browser.events(&one).await;
        let refused = browser.get(&format!("/v1/tickets/{two}/events")).await;
        assert_eq!(problem(refused).await, (429, "too_many_streams".into()));
        assert_eq!(gateway.metric("scangate_refused_total{reason=\"streams_per_address\"}").await, 1.0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_process_sends_streams_away_to_come_back() {
        let gateway = Gateway::builder().arg("--streams-per-process", "1").start().await;
        let browser = Browser::new(&gateway);
        let id = browser.create().await;
        let _open = browser.events(&id).await;
        let shed = browser.get(&format!("/v1/tickets/{id}/events")).await;
        assert_eq!(shed.status(), StatusCode::OK);
        let text = shed.text().await.unwrap();
        assert!(text.starts_with("retry: ") && text.ends_with("\nevent: reconnect\ndata: {}\n\n"), "{text}");
        assert_eq!(text.matches("\n\n").count(), 1, "{text}");
        let refused = browser.get(&format!("/v1/tickets/{id}?wait=5&revision=1")).await;
        assert_eq!(refused.headers()["retry-after"], "2");
        assert_eq!(problem(refused).await, (503, "unavailable".into()));
        assert_eq!(gateway.metric("scangate_refused_total{reason=\"streams_per_process\"}").await, 2.0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_memory_store_answers_503() {
        let gateway = Gateway::builder().arg("--memory-max-tickets", "1").start().await;
        let browser = Browser::new(&gateway);
        browser.create().await;
        let refused = browser.request(Method::POST, "/v1/tickets").json(&json!({})).send().await.unwrap();
        assert_eq!(problem(refused).await, (503, "store_full".into()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bodies_and_heads_are_bounded() {
        let gateway = Gateway::start().await;
        let browser = Browser::new(&gateway);
        let large = json!({"client_id": "x".repeat(17 * 1024)});
        let refused = browser.request(Method::POST, "/v1/tickets").json(&large).send().await.unwrap();
        assert_eq!(problem(refused).await, (413, "too_large".into()));
        let head = browser.request(Method::GET, "/").header("x-large", "x".repeat(20 * 1024)).send().await.unwrap();
        assert_eq!(head.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let token = format!("{}.{}.x", "a".repeat(4000), "b".repeat(5000));
        let refused = Phone::with_token(token, &gateway).act(&browser.create().await, "scan").await;
        assert_eq!(problem(refused).await, (401, "invalid_token".into()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_are_bounded_and_the_next_waits_its_turn() {
        use tokio::io::AsyncWriteExt as _;
        use tokio::net::TcpStream;

        let gateway = Gateway::builder().arg("--max-connections", "1").start().await;
        let address = gateway.base.strip_prefix("http://").unwrap();
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"GET /").await.unwrap();
        eventually("the first connection", || async {
            (gateway.metric("scangate_connections_open").await == 1.0).then_some(())
        })
        .await;
        let waiting = tokio::time::timeout(Duration::from_millis(300), reqwest::get(gateway.url("/"))).await;
        assert!(waiting.is_err(), "a second connection was served");
        drop(first);
        assert_eq!(reqwest::get(gateway.url("/")).await.unwrap().status(), StatusCode::OK);
    }
}

/// Whoever has a network of addresses is not a thousand callers, and who shares one address is not shut out.
mod rule_8_networks {
    use futures_util::StreamExt as _;
    use futures_util::stream;

    use super::*;
    use crate::support::picture::plain;

    /// How many requests are under way at the same time.
    const AT_ONCE: usize = 32;
    /// The least that an address may have in a small store; its network has 16 times as many.
    const SHARE: usize = 16 * 50;

    async fn create(http: &reqwest::Client, gateway: &Gateway, address: &str) -> (u16, Value) {
        let request = http.post(gateway.url("/v1/tickets")).header("x-forwarded-for", address).json(&json!({}));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Makes tickets from all of these addresses, each as often as that; returns how many there are, and what the others
    /// were told.
    async fn fill(gateway: &Gateway, addresses: &[String], times: usize) -> (usize, HashMap<String, usize>) {
        let http = reqwest::Client::new();
        let all = addresses.iter().cycle().take(addresses.len() * times);
        let answers = stream::iter(all).map(|address| create(&http, gateway, address)).buffer_unordered(AT_ONCE);
        let (mut made, mut refused) = (0, HashMap::new());
        for (status, body) in answers.collect::<Vec<_>>().await {
            if status == 201 {
                made += 1;
            } else {
                assert_eq!(status, 429, "{body}");
                assert!(body["retry_after"].as_u64().unwrap() > 0, "{body}");
                *refused.entry(body["code"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        (made, refused)
    }

    fn subnets() -> Vec<String> {
        (0..1_000).map(|number| format!("2001:db8:77:{number:x}::1")).collect()
    }

    fn hosts() -> Vec<String> {
        (1..=250).map(|number| format!("198.51.100.{number}")).collect()
    }

    async fn one_network_leaves_room_for_others(gateway: &Gateway) {
        for (addresses, times) in [(subnets(), 3), (hosts(), 8)] {
            let (made, refused) = fill(gateway, &addresses, times).await;
            assert_eq!(made, SHARE, "{refused:?}");
            assert!(refused["too_many_tickets"] > 0, "{refused:?}");
        }
        let refused = gateway.metric("scangate_refused_total{reason=\"tickets_per_address_network\"}").await;
        assert!(refused > 0.0);
        assert_eq!(create(&reqwest::Client::new(), gateway, "192.0.2.1").await.0, 201);
        assert_eq!(create(&reqwest::Client::new(), gateway, "2001:db8:78::1").await.0, 201);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_network_of_a_thousand_addresses_cannot_fill_the_memory_store() {
        let gateway = Gateway::builder().arg("--memory-max-tickets", "2000").arg("--log", "warn,scangate::app=info");
        one_network_leaves_room_for_others(&gateway.start().await).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_network_of_a_thousand_addresses_cannot_fill_redis() {
        let redis = Redis::start();
        let gateway = Gateway::builder().redis(&redis).arg("--tickets-per-address", "50");
        one_network_leaves_room_for_others(&gateway.arg("--log", "warn,scangate::app=info").start().await).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_network_has_sixteen_times_the_rate_of_an_address_and_a_site_four_times() {
        let gateway = Gateway::builder().arg("--rate-create", "1").start().await;
        for (addresses, allowed, reason) in [
            ((0..9).map(|number| format!("2001:db8:1:{number:x}::1")).collect(), 4, "rate_create_site"),
            ((0..40).map(|number| format!("2001:db8:2:{number:x}00::1")).collect(), 16, "rate_create_network"),
            (hosts(), 16, "rate_create_network"),
        ] {
            let addresses: Vec<String> = addresses;
            let (made, refused) = fill(&gateway, &addresses, 1).await;
            // A minute may pass meanwhile, on a busy machine.
            assert!((allowed..allowed + 2).contains(&made), "{made} {reason}");
            assert!(refused["rate_limited"] > 0);
            assert!(gateway.metric(&format!("scangate_refused_total{{reason=\"{reason}\"}}")).await > 0.0, "{reason}");
        }
        let (_, told) = create(&reqwest::Client::new(), &gateway, "198.51.100.251").await;
        assert!(told["detail"].as_str().unwrap().contains("Other addresses of your network"), "{told}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_ipv4_address_in_another_clothing_is_the_same_caller() {
        let gateway = Gateway::builder().arg("--rate-create", "1").start().await;
        let http = reqwest::Client::new();
        assert_eq!(create(&http, &gateway, "203.0.113.1").await.0, 201);
        for other in [
            "::ffff:203.0.113.1",
            "2002:cb00:7101::1",
            "2002:cb00:7101:5::7",
            "64:ff9b::cb00:7101",
            "2001:0:4136:e378:8000:63bf:34ff:8efe",
            "2001:0:1:2:3:4:34ff:8efe",
        ] {
            assert_eq!(create(&http, &gateway, other).await.0, 429, "{other}");
        }
        assert_eq!(create(&http, &gateway, "2002:cb00:7102::1").await.0, 201);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn streams_of_one_network_are_bounded_too() {
        let gateway = Gateway::builder().arg("--streams-per-address", "1").start().await;
        let browser = Browser::new(&gateway);
        let mut open = Vec::new();
        for number in 0..17 {
            let id = browser.create().await;
            let request = browser.request(Method::GET, &format!("/v1/tickets/{id}/events"));
            open.push(request.header("x-forwarded-for", format!("198.51.100.{number}")).send().await.unwrap());
        }
        let refused = open.pop().unwrap();
        assert!(open.iter().all(|response| response.status() == StatusCode::OK));
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "too_many_streams");
        let reason = "scangate_refused_total{reason=\"streams_per_address_network\"}";
        assert_eq!(gateway.metric(reason).await, 1.0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_are_bounded_per_caller_where_no_edge_stands_before() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        use tokio::net::{TcpSocket, TcpStream};

        async fn connect(gateway: &Gateway, from: [u8; 4]) -> TcpStream {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((std::net::Ipv4Addr::from(from), 0).into()).unwrap();
            socket.connect(gateway.base.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap()
        }

        /// Returns whether the other side closes it, instead of answering.
        async fn is_closed(stream: &mut TcpStream) -> bool {
            // It may be closed by now.
            let _ = stream.write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await;
            let read = tokio::time::timeout(SOON, stream.read(&mut [0])).await.expect("neither closed nor answered");
            !read.is_ok_and(|count| count > 0)
        }

        let strict = |proxies: &str| {
            Gateway::builder().arg("--trusted-proxies", proxies).arg("--connections-per-address", "2").start()
        };
        let gateway = strict("10.0.0.0/8").await;
        let is_open = |count: f64| {
            let gateway = &gateway;
            eventually("the connections", move || async move {
                (gateway.metric("scangate_connections_open").await == count).then_some(())
            })
        };
        let mut open = vec![connect(&gateway, [127, 0, 5, 1]).await, connect(&gateway, [127, 0, 5, 1]).await];
        is_open(2.0).await;
        assert!(is_closed(&mut connect(&gateway, [127, 0, 5, 1]).await).await);
        for number in 0..30 {
            open.push(connect(&gateway, [127, 0, 5, 2 + number / 2]).await);
        }
        is_open(32.0).await;
        assert!(is_closed(&mut connect(&gateway, [127, 0, 5, 200]).await).await);
        let mut elsewhere = connect(&gateway, [127, 0, 6, 200]).await;
        is_open(33.0).await;
        assert!(!is_closed(&mut elsewhere).await);
        for reason in ["connections_per_address", "connections_per_address_network"] {
            assert_eq!(gateway.metric(&format!("scangate_refused_total{{reason=\"{reason}\"}}")).await, 1.0);
        }
        open.clear();
        is_open(1.0).await;
        let mut again = connect(&gateway, [127, 0, 5, 1]).await;
        is_open(2.0).await;
        assert!(!is_closed(&mut again).await);
        // However few there are in all, one network leaves half of them to the others.
        open.clear();
        let gateway =
            Gateway::builder().arg("--trusted-proxies", "10.0.0.0/8").arg("--max-connections", "16").start().await;
        for number in 0..8 {
            open.push(connect(&gateway, [127, 0, 5, 1 + number / 4]).await);
        }
        eventually("the connections", || async {
            (gateway.metric("scangate_connections_open").await == 8.0).then_some(())
        })
        .await;
        assert!(is_closed(&mut connect(&gateway, [127, 0, 5, 1]).await).await);
        assert!(is_closed(&mut connect(&gateway, [127, 0, 5, 200]).await).await);
        assert!(!is_closed(&mut connect(&gateway, [127, 0, 6, 1]).await).await);
        // A proxy carries other people's.
        open.clear();
        let gateway = strict("127.0.0.0/8").await;
        for _ in 0..5 {
            open.push(connect(&gateway, [127, 0, 5, 1]).await);
        }
        eventually("the connections", || async {
            (gateway.metric("scangate_connections_open").await == 5.0).then_some(())
        })
        .await;
    }

    /// Signs one person in, from the desk to the phone, all from one address.
    async fn sign_in(http: &reqwest::Client, gateway: &Gateway, number: usize) {
        use crate::support::EventStream;

        let send = async |request: reqwest::RequestBuilder, bearer: &str| {
            let request = request.header("x-forwarded-for", "198.51.100.7");
            let request = if bearer.is_empty() { request } else { request.bearer_auth(bearer) };
            let response = request.send().await.unwrap();
            assert!(response.status().is_success(), "person {number}: {}", response.text().await.unwrap());
            response
        };
        let made = http.post(gateway.url("/v1/tickets?qr=svg")).json(&json!({"binding": "bearer"}));
        let made: Value = send(made, "").await.json().await.unwrap();
        let ticket = gateway.url(&format!("/v1/tickets/{}", made["ticket_id"].as_str().unwrap()));
        let stream = http.get(format!("{ticket}/events"));
        let mut events = EventStream::new(send(stream, made["ticket_secret"].as_str().unwrap()).await);
        events.expect("pending").await;
        for action in ["scan", "confirm"] {
            let request = http.post(format!("{ticket}/{action}")).json(&json!({}));
            send(request, &token(&format!("person-{number}"))).await;
        }
        let mut last = events.next().await.unwrap();
        while last.event != "confirmed" {
            last = events.next().await.expect("the stream ended before confirmed");
        }
        assert!(last.data["token"]["access_token"].is_string());
    }

    const PEOPLE: usize = 200;

    #[tokio::test(flavor = "multi_thread")]
    async fn two_hundred_people_behind_one_address_sign_in_at_the_defaults_all_at_once() {
        let gateway = Gateway::builder().with_default_limits().arg("--log", "warn,scangate::app=info").start().await;
        let http = reqwest::Client::new();
        futures_util::future::join_all((0..PEOPLE).map(|number| sign_in(&http, &gateway, number))).await;
        assert_eq!(gateway.metric("scangate_tickets_total{outcome=\"confirmed\"}").await, 200.0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_hundred_people_behind_one_address_sign_in_at_the_defaults_a_few_at_a_time() {
        let gateway = Gateway::builder().with_default_limits().arg("--log", "warn,scangate::app=info").start().await;
        let http = reqwest::Client::new();
        let all = stream::iter(0..PEOPLE).map(|number| sign_in(&http, &gateway, number)).buffer_unordered(5);
        assert_eq!(all.count().await, PEOPLE);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn drawing_is_limited_whichever_way_a_code_is_asked_for() {
        let (directory, config) = file("[[clients]]\nid = \"web\"\nlogo = \"logo.png\"\n");
        std::fs::write(directory.path().join("logo.png"), plain(256, 256, [200, 30, 30])).unwrap();
        let gateway = Gateway::builder().arg("--rate-draw", "1").arg("--config", config.to_str().unwrap());
        let gateway = gateway.start().await;
        let http = reqwest::Client::new();
        let draw = async |address: &str, way: &str| {
            let request = match way.strip_prefix("POST ") {
                Some(path) => http.post(gateway.url(path)).json(&json!({})),
                None => http.get(gateway.url(way)),
            };
            request.header("x-forwarded-for", address).send().await.unwrap()
        };
        let ways = [
            "/v1/tickets/AAAAAAAAAAAAAAAAAAAAAA/qr.png?size=1024&logo=web",
            "/v1/tickets/AAAAAAAAAAAAAAAAAAAAAA/qr.svg",
            "POST /v1/tickets?qr=png",
            "POST /v1/tickets?qr=svg",
        ];
        for (number, way) in ways.iter().enumerate() {
            let address = format!("198.51.{number}.1");
            assert!(draw(&address, way).await.status().is_success(), "{way}");
            for other in ways {
                let refused = draw(&address, other).await;
                assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "{way}, {other}");
                assert!(refused.headers().contains_key("retry-after"));
            }
            // Without a picture there is nothing to draw.
            assert_eq!(draw(&address, "POST /v1/tickets").await.status(), StatusCode::CREATED);
        }
        assert_eq!(gateway.metric("scangate_refused_total{reason=\"rate_draw\"}").await, 16.0);
    }
}

mod rule_9_addresses {
    use super::*;

    async fn seen_address(gateway: &Gateway, forwarded: &str) -> Value {
        let http = reqwest::Client::new();
        let request = http
            .post(gateway.url("/v1/tickets"))
            .header("x-forwarded-for", forwarded)
            .header("forwarded", "for=198.51.100.9");
        let ticket: Value = request.json(&json!({})).send().await.unwrap().json().await.unwrap();
        let scan: Value =
            Phone::of("ada", gateway).act(ticket["ticket_id"].as_str().unwrap(), "scan").await.json().await.unwrap();
        scan["requester"]["ip"].clone()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_trusted_proxy_tells_the_browsers_address() {
        let gateway = Gateway::start().await;
        assert_eq!(seen_address(&gateway, "198.51.100.1, 203.0.113.7").await, "203.0.113.7");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn anybody_else_is_not_believed() {
        let gateway = Gateway::builder().arg("--trusted-proxies", "10.0.0.0/8").start().await;
        assert_eq!(seen_address(&gateway, "203.0.113.7").await, "127.0.0.1");
    }
}

mod rule_10_logs {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn no_secret_reaches_the_log_even_at_its_loudest() {
        let redis = Redis::start();
        let gateway = Gateway::builder().redis(&redis).arg("--log", "trace").start().await;
        let browser = Browser::new(&gateway);
        let response = browser.request(Method::POST, "/v1/tickets").json(&json!({})).send().await.unwrap();
        let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
        let cookie = cookie.strip_prefix("scangate=").unwrap().split(';').next().unwrap().to_owned();
        let id = response.json::<Value>().await.unwrap()["ticket_id"].as_str().unwrap().to_owned();
        let native = browser.create_with(json!({"binding": "bearer"})).await;
        let mut events = browser.events(&id).await;
        let ada = Phone::of("ada", &gateway);
        ada.approve(&id).await;
        let mut jwts = Vec::new();
        while let Some(frame) = events.next().await {
            jwts.extend(frame.data["token"]["access_token"].as_str().map(str::to_owned));
        }
        let answer: Value = browser.read(&id).await.json().await.unwrap();
        jwts.push(answer["token"]["access_token"].as_str().unwrap().to_owned());
        // Bad attempts must not be quoted either.
        let bad = format!("{}x", ada.token);
        Phone::with_token(bad, &gateway).act(&id, "scan").await;
        browser.get(&format!("/v1/tickets/{id}?token={}", ada.token)).await;

        let log = gateway.log();
        assert!(log.contains(&id) && log.contains("\"level\":\"DEBUG\""), "the log is not as loud as it should be");
        assert_eq!(jwts.len(), 2);
        let metrics = gateway.metrics().await;
        let mut canaries = vec![cookie, native["ticket_secret"].as_str().unwrap().to_owned(), SECRET.to_owned()];
        canaries.extend(jwts);
        canaries.push(ada.token.clone());
        for canary in canaries {
            // The signature alone would be enough to tell.
            let tail = &canary[canary.len().saturating_sub(24)..];
            for line in log.lines().chain(metrics.lines()) {
                assert!(!line.contains(tail), "a secret is in: {line}");
            }
        }
    }
}
