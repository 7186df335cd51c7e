//! Where a sign-in begins: who may send a browser there, where it leads back to, and how often.

use reqwest::header::HeaderValue;
use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_cross_site_start_is_refused() {
    let site = Site::start().await;
    let path = begin_path(&site.desk.create().await);
    for source in ["cross-site", "same-site", "made-up"] {
        for language in LANGUAGES {
            let request = site.phone().reading(language).open(&path).header("sec-fetch-site", source);
            let told = Told::of(request.send().await.unwrap()).await;
            told.is(language, 403, "origin_not_allowed", "/");
            assert!(!told.headers.contains_key("set-cookie"), "{source}");
        }
    }
    assert_eq!(site.gateway.metric("scangate_provider_sign_ins_total{outcome=\"begun\"}").await, 0.0);
    // A link in a mail, and a browser that does not say where it comes from: nothing is scanned by it.
    for source in [Some("none"), Some("same-origin"), None] {
        let request = site.phone().open(&path);
        let request = source.into_iter().fold(request, |request, source| request.header("sec-fetch-site", source));
        assert_eq!(request.send().await.unwrap().status(), StatusCode::SEE_OTHER, "{source:?}");
    }
}

/// The ticket is bound to nobody after the whole way: the page to which it leads asks first.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_begins_a_sign_in_does_not_scan() {
    let site = Site::start().await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let begun = phone.open(&begin_path(&id)).header("sec-fetch-site", "none").send().await.unwrap();
    let callback = phone.at_provider(&location(&begun)).await;
    assert_eq!(location(&phone.bring(&callback).await), format!("/s/{id}"));
    let ticket: Value = site.desk.read(&id).await.json().await.unwrap();
    assert_eq!((&ticket["state"], ticket.get("opened"), &ticket["revision"]), (&json!("pending"), None, &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_leads_back_to_our_own_pages_alone() {
    let site = Site::start().await;
    let (id, phone) = (site.desk.create().await, site.phone());
    for query in [
        String::new(),
        "ticket=".to_owned(),
        "ticket=//evil.example".to_owned(),
        format!("ticket={id}%2f..%2f..%2fevil"),
        format!("ticket={id}&to=/share"),
        format!("ticket={id}&ticket={id}"),
        format!("ticket={id}&return=https://evil.example"),
        format!("ticket={id}&redirect_uri=https://evil.example"),
        format!("ticket={id}&prompt=none"),
        "to=https://evil.example".to_owned(),
        "to=//evil.example".to_owned(),
        "to=/%5Cevil.example".to_owned(),
        "to=/share%2f".to_owned(),
        "to=/share&client_id=nobody".to_owned(),
        "to=/share&client_id=web%26x".to_owned(),
    ] {
        let begun = phone.begin(&format!("/sign-in/oidc?{query}")).await;
        assert_eq!(begun.status(), StatusCode::BAD_REQUEST, "{query}");
        assert!(!begun.headers().contains_key("location") && !begun.headers().contains_key("set-cookie"), "{query}");
    }
    for path in ["/sign-in/other", "/sign-in/OIDC", "/sign-in/oidc/x"] {
        assert_eq!(phone.begin(&format!("{path}?ticket={id}")).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    // The answer's parameters choose neither the page nor the provider.
    let callback = phone.until_callback(&begin_path(&id)).await;
    let more =
        "&return=https://evil.example&to=/share&next=//evil.example&redirect_uri=https://evil.example&provider=x";
    assert_eq!(location(&phone.bring(&format!("{callback}{more}")).await), format!("/s/{id}"));
    phone.signs_in("/sign-in/oidc?to=/share", "/share").await;
    phone.signs_in("/sign-in/oidc?to=/share&client_id=web", "/share?client_id=web").await;
    // Whether the ticket is there is told by the page to which this leads.
    let unknown = "A".repeat(22);
    phone.signs_in(&begin_path(&unknown), &format!("/s/{unknown}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_redirect_uri_comes_from_the_public_url_whatever_host_is_asked() {
    let site = Site::start().await;
    for (name, value) in
        [("host", "evil.example"), ("x-forwarded-host", "evil.example"), ("forwarded", "host=evil.example")]
    {
        let (id, phone) = (site.desk.create().await, site.phone());
        let begun = phone.open(&begin_path(&id)).header(name, value).send().await.unwrap();
        let callback = phone.at_provider(&location(&begun)).await;
        let expected = format!("{}/sign-in/callback", site.gateway.public_url);
        assert_eq!(site.provider.authorization()["redirect_uri"], expected, "{name}");
        // The provider compares the token request's with it.
        let answer = phone.open(&callback).header(name, value).send().await.unwrap();
        assert_eq!((answer.status(), location(&answer)), (StatusCode::SEE_OTHER, format!("/s/{id}")), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_is_known_by_the_very_name_of_its_cookie_and_only_once() {
    let site = Site::with(|builder| builder.arg("--public-url", "https://login.example")).await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let begun = phone.begin(&begin_path(&id)).await;
    let cookie = begun.headers()["set-cookie"].to_str().unwrap().to_owned();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure");
    let secret = pair.strip_prefix("__Host-scangate-sign-in=").unwrap();
    let callback = phone.at_provider(&location(&begun)).await;

    let mut disguises: Vec<Vec<u8>> = [
        String::new(),
        format!("%5F%5FHost-scangate-sign-in={secret}"),
        format!("__host-scangate-sign-in={secret}"),
        format!("__Host-scangate%2Dsign-in={secret}"),
        format!("__Secure-scangate-sign-in={secret}"),
        format!("scangate-sign-in={secret}"),
        format!("__Host-scangate-login={secret}"),
        format!("__Host-scangate={secret}"),
        format!("\"__Host-scangate-sign-in\"={secret}"),
        format!("$Version=1,__Host-scangate-sign-in={secret}"),
        format!("__Host-scangate-sign-in={secret}="),
        format!("__Host-scangate-sign-in=\"{secret}\""),
        format!("{pair}; {pair}"),
        format!("__Host-scangate-sign-in=; {pair}"),
        format!("__Host-scangate-sign-in={}; {pair}", "A".repeat(43)),
    ]
    .map(String::into_bytes)
    .into();
    for white in ["\u{a0}", "\u{85}", "\u{2003}", "\u{feff}"] {
        disguises.push(format!("{white}{pair}").into_bytes());
    }
    for disguise in disguises {
        let shown = String::from_utf8_lossy(&disguise).into_owned();
        let request = phone.open(&callback).header("cookie", HeaderValue::from_bytes(&disguise).unwrap());
        let told = Told::of(request.send().await.unwrap()).await;
        assert_eq!((told.status, told.code.as_str()), (403, "sign_in_other_browser"), "{shown}");
    }
    assert_eq!(site.provider.count("POST /token"), 0);
    // Among what neighbours write.
    let line = [b"city=Z\xfcrich; \xff\xfe=\x80; ".as_slice(), pair.as_bytes(), b"; open=\"quote"].concat();
    let answer = phone.open(&callback).header("cookie", HeaderValue::from_bytes(&line).unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let login = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(
        login.starts_with("__Host-scangate-login=") && login.ends_with("; HttpOnly; SameSite=Lax; Secure"),
        "{login}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn begun_sign_ins_are_limited_per_address() {
    let site = Site::with(|builder| builder.arg("--rate-sign-in", "3")).await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let mut callback = String::new();
    for _ in 0..3 {
        callback = phone.until_callback(&begin_path(&id)).await;
    }
    for language in LANGUAGES {
        let told = Told::of(phone.clone().reading(language).begin(&begin_path(&id)).await).await;
        told.is(language, 429, "rate_limited", &format!("/s/{id}"));
        assert!(told.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 60);
    }
    let other = site.phone().open(&begin_path(&id)).header("x-forwarded-for", "203.0.113.9").send().await.unwrap();
    assert_eq!(other.status(), StatusCode::SEE_OTHER);
    // A sign-in that began before is not held up.
    assert_eq!(phone.bring(&callback).await.status(), StatusCode::SEE_OTHER);
    phone.approves(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_answers_are_limited_and_true_ones_are_not() {
    let site = Site::with(|builder| builder.arg("--rate-sign-in", "3")).await;
    let (id, phone, stranger) = (site.desk.create().await, site.phone(), site.phone());
    let callback = phone.until_callback(&begin_path(&id)).await;
    let guess = format!("/sign-in/callback?code=c&state={}", "A".repeat(43));
    let mut codes = Vec::new();
    for path in [&guess, "/sign-in/callback?state=a&state=b", &callback, &guess, &callback] {
        codes.push(Told::of(stranger.bring(path).await).await.code);
    }
    let limited = "rate_limited";
    assert_eq!(codes, ["sign_in_expired", "sign_in_mixed_up", "sign_in_other_browser", limited, limited]);
    for _ in 0..2 {
        assert_eq!(stranger.bring(&guess).await.status(), StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(phone.bring(&callback).await.status(), StatusCode::SEE_OTHER);
    phone.approves(&id).await;
}
