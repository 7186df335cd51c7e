//! What pages learn of the session, and a signed-in browser that acts as a device in which nobody is.

use super::*;

/// The pages that are somebody's.
const PAGES: [&str; 3] = ["/s/AAAAAAAAAAAAAAAAAAAAAA", "/share", "/share/AAAAAAAAAAAAAAAAAAAAAA"];

/// Opens a page as a browser does.
async fn open(caller: &Caller<'_>, path: &str, secret: &str, site: &str, dest: &str) -> Response {
    let request = caller.request(Method::GET, path, &cookie(secret)).header("accept", "text/html");
    request.header("sec-fetch-site", site).header("sec-fetch-dest", dest).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_knows_its_reader_wherever_the_navigation_comes_from() {
    let gateway = demo().await;
    let caller = Caller::of(&gateway);
    let secret = caller.sign_in("Ada </script>", b"").await;
    let knows = async |path: &str, secret: &str, site: &str, dest: &str| {
        let page = open(&caller, path, secret, site, dest).await;
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(page.headers()["cache-control"], "no-store");
        assert_eq!(page.headers()["cross-origin-resource-policy"], "same-origin");
        assert!(set_cookie(&page).is_none(), "opening a page changes nothing");
        page.text().await.unwrap().contains("Ada \\u003c/script>")
    };
    for path in PAGES {
        for site in ["none", "same-origin", "same-site", "cross-site"] {
            assert!(knows(path, &secret, site, "document").await, "{path} from {site}");
            for dest in ["empty", "iframe", "image", "script", "embed"] {
                assert!(!knows(path, &secret, site, dest).await, "{path} from {site} as {dest}");
            }
        }
        assert!(!knows(path, &"A".repeat(43), "none", "document").await, "{path}");
    }
    assert!(!knows("/", &secret, "none", "document").await, "the page that shows a code is nobody's");
    caller.end(&secret).await;
    assert!(!knows(PAGES[0], &secret, "none", "document").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_pages_does_not_prolong_a_session() {
    let gateway = Gateway::builder().own_identity().arg("--session-idle", "5s").start().await;
    let caller = Caller::of(&gateway);
    let secret = caller.sign_in("Ada", b"").await;
    let started = std::time::Instant::now();
    let opened = || async {
        let page = open(&caller, PAGES[0], &secret, "none", "document").await.text().await.unwrap();
        page.contains("\"person\":null").then_some(())
    };
    eventually("the end of the session", opened).await;
    assert!(started.elapsed() > Duration::from_millis(4500), "it ended after {:?}", started.elapsed());
    assert!(!caller.is_signed_in(&secret).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_down_only_a_page_of_a_signed_in_person_waits_for_it() {
    let mut redis = Redis::start();
    let gateway = Gateway::builder().own_identity().redis(&redis).start().await;
    let caller = Caller::of(&gateway);
    let secret = caller.sign_in("Ada", b"").await;
    redis.kill();
    let page = open(&caller, PAGES[0], &secret, "none", "document").await;
    assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.text().await.unwrap().contains("http-equiv=\"refresh\""), "it loads itself again");
    let nobody = caller.request(Method::GET, PAGES[0], b"").send().await.unwrap();
    assert_eq!(nobody.status(), StatusCode::OK);
}

/// The device shows its owner's name to nobody, or is to be signed in as its owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_in_browser_can_scan_a_share_as_a_device_in_which_nobody_is() {
    let gateway = demo().await;
    let presenter = Browser::new(&gateway);
    sign_in(&presenter, "Ada").await;
    for owner in ["Bob", "Ada"] {
        let device = Browser::new(&gateway);
        sign_in(&device, owner).await;
        let share = presenter.request(Method::POST, "/v1/tickets").json(&json!({"flow": "share"}));
        let id = share.send().await.unwrap().json::<Value>().await.unwrap()["ticket_id"].as_str().unwrap().to_owned();
        let scan: Value = act(&device, &id, "scan", json!({"binding": "bearer"})).await.json().await.unwrap();
        let secret = scan["ticket_secret"].as_str().unwrap().to_owned();
        let seen: Value = presenter.read(&id).await.json().await.unwrap();
        assert_eq!((&seen["scanned_by"]["signed_in"], &seen["scanned_by"]["name"]), (&json!(false), &Value::Null));
        let scanner = json!({"scanner": seen["scanned_by"]["id"]});
        assert_eq!(act(&presenter, &id, "confirm", scanner).await.status(), StatusCode::OK);
        let read = device.request(Method::GET, &format!("/v1/tickets/{id}")).bearer_auth(&secret);
        let answer: Value = read.send().await.unwrap().json().await.unwrap();
        let claims = verified_claims(&gateway, answer["token"]["access_token"].as_str().unwrap(), "web").await;
        assert_eq!(claims["sub"], "demo:Ada", "{owner}");
    }
    // A sign-in is confirmed by a person and by nobody else.
    let id = Browser::new(&gateway).create().await;
    let refused = act(&presenter, &id, "scan", json!({"binding": "bearer"})).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}
