//! What the gateway asks of WeChat: few tokens, shared by all replicas; another host where one fails; nothing secret said.

use std::process::Command;

use futures_util::future::join_all;

use super::*;

const CODES: &str = "qrcode/create";
const TOKENS: &str = "stable_token";

async fn create(browser: &Browser) -> reqwest::Response {
    let body = json!({"client_id": "shop"});
    browser.request(Method::POST, "/v1/tickets").json(&body).send().await.unwrap()
}

/// Makes a ticket and returns its status.
async fn status(site: &Site) -> u16 {
    create(&Browser::new(&site.gateway)).await.status().as_u16()
}

/// Two gateways that share a Redis and an account.
async fn replicas() -> (Redis, Api, [Gateway; 2], tempfile::TempDir) {
    let (redis, api) = (Redis::start(), Api::start().await);
    let (directory, path) = file(&api.table(""));
    let builder = Gateway::builder().arg("--config", path.to_str().unwrap()).redis(&redis);
    let gateways = [builder.clone().start().await, builder.start().await];
    (redis, api, gateways, directory)
}

/// Makes forty tickets at once, evenly at both gateways, and all of them with this status.
async fn create_many_with(gateways: &[Gateway; 2], status: u16) {
    let browsers = gateways.each_ref().map(Browser::new);
    let answers = join_all((0..40).map(|number| create(&browsers[number % 2]))).await;
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    assert!(statuses.iter().all(|each| *each == status), "{statuses:?}");
}

async fn create_many(gateways: &[Gateway; 2]) {
    create_many_with(gateways, 201).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_wait_for_a_token_are_told_at_once_that_there_is_none() {
    let (_redis, api, gateways, _directory) = replicas().await;
    api.delay(Duration::from_millis(300));
    api.refuse_tokens(Some(40164));
    create_many_with(&gateways, 503).await;
    let logs = gateways.each_ref().map(Gateway::log).concat();
    assert!(logs.contains("IP whitelist") && !logs.contains("another gateway"), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_fetch_one_token_between_them() {
    let (_redis, api, gateways, _directory) = replicas().await;
    // Long enough for all of them to come meanwhile.
    api.delay(Duration::from_millis(300));
    create_many(&gateways).await;
    assert_eq!((api.count(TOKENS), api.count(CODES)), (1, 40));
    api.delay(Duration::ZERO);
    create_many(&gateways).await;
    assert_eq!(api.count(TOKENS), 1);
    // One that WeChat takes no more is replaced by one of them, too.
    api.end_token();
    api.delay(Duration::from_millis(100));
    create_many(&gateways).await;
    assert_eq!((api.count(TOKENS), api.count("!")), (2, 0), "WeChat gives a new one, without force");
    assert_eq!(api.codes().len(), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_wechat_refuses_is_renewed_and_the_call_made_again() {
    for code in [40001, 40014, 42001] {
        let site = Site::plain().await;
        assert_eq!(status(&site).await, 201);
        site.api.end_token();
        site.api.answer_next(&[code]);
        assert_eq!(status(&site).await, 201, "{code}");
        assert_eq!((site.api.count(TOKENS), site.api.count("!"), site.api.count(CODES)), (2, 0, 3), "{code}");
    }
    // Other codes say nothing of the token.
    let site = Site::plain().await;
    site.api.answer_next(&[45009]);
    assert_eq!(status(&site).await, 503);
    assert_eq!((site.api.count(TOKENS), site.api.count(CODES)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_wechat_issues_and_refuses_is_renewed_by_force_but_not_again_and_again() {
    let site = Site::plain().await;
    site.api.answer_next(&[40001]);
    assert_eq!(status(&site).await, 201);
    // Issued, issued again, and then by force.
    assert_eq!((site.api.count(TOKENS), site.api.count("!")), (3, 1));
    site.api.answer_next(&[40001]);
    assert_eq!(status(&site).await, 503);
    assert_eq!(site.api.count("!"), 1, "WeChat allows twenty a day");
    assert_eq!(status(&site).await, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_before_it_ends() {
    let site = Site::plain().await;
    site.api.issue_for(20);
    for _ in 0..3 {
        assert_eq!(status(&site).await, 201);
    }
    assert_eq!(site.api.count(TOKENS), 1);
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    assert_eq!(status(&site).await, 201);
    assert_eq!((site.api.count(TOKENS), site.api.count(CODES)), (2, 4));
}

/// What is kept says when the time has come, which is too long for a test to wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_minutes_before_it_ends_and_used_as_long_as_it_cannot_be() {
    let site = Site::with("", Some(Redis::start()), &[]).await;
    let redis = site.redis.as_ref().unwrap();
    assert_eq!(status(&site).await, 201);
    let kept = redis.keys().into_iter().find_map(|key| {
        let value: String = redis.try_run(&["HGET", &key, "value"]).ok()?;
        value.contains("renew_at").then(|| (key, serde_json::from_str::<Value>(&value).unwrap()))
    });
    let (key, mut kept) = kept.unwrap();
    let renew_in = kept["renew_at"].as_i64().unwrap() / 1000 - now();
    assert!((6_890..=6_960).contains(&renew_in), "{renew_in}");
    let ttl: i64 = redis.run(&["TTL", &key]);
    assert!((7_150..7_200).contains(&ttl), "{ttl}");

    kept["renew_at"] = json!(0);
    let is_due = || redis.run::<i64>(&["HSET", &key, "value", &kept.to_string()]);
    is_due();
    site.api.refuse_tokens(Some(45009));
    assert_eq!(status(&site).await, 201, "the old one is still good");
    assert_eq!(site.api.count(TOKENS), 2);
    site.api.refuse_tokens(None);
    // Whoever fails leaves it alone for a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(status(&site).await, 201);
    assert_eq!(status(&site).await, 201);
    assert_eq!(site.api.count(TOKENS), 3, "it is renewed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_fails_is_left_for_the_other() {
    for fault in [Fault::Refuses, Fault::Broken, Fault::Busy, Fault::Hangs] {
        let api = Api::start().await;
        api.fail(0, Some(fault));
        let site = Site::at(api, "", None, &[]).await;
        assert_eq!(status(&site).await, 201, "{fault:?}");
        // Then it is asked last, and nobody waits for it: neither for this code nor for the next.
        assert_eq!(status(&site).await, 201, "{fault:?}");
        assert_eq!((site.api.count("0 "), site.api.count("1 ")), (0, 3), "{fault:?}");
        let again = "scangate_connector_requests_total{connector=\"wechat\",operation=\"qrcode\",result=\"failed\"}";
        assert_eq!(site.gateway.metric(again).await, 0.0, "{fault:?}");
        let failed =
            "scangate_connector_requests_total{connector=\"wechat\",operation=\"stable_token\",result=\"failed\"}";
        assert_eq!(site.gateway.metric(failed).await, 1.0, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_wechat_there_is_no_ticket_and_the_caller_is_told_when_to_come_back() {
    let site = Site::plain().await;
    for fault in [Fault::Broken, Fault::Hangs] {
        site.api.fail(0, Some(fault));
        site.api.fail(1, Some(fault));
        let started = Instant::now();
        let answer = create(&Browser::new(&site.gateway)).await;
        assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after") && !answer.headers().contains_key("set-cookie"));
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "connector_unavailable");
    }
    assert_eq!(site.gateway.metric("scangate_tickets_total{outcome=\"created\"}").await, 0.0);
    // Other clients do not notice.
    Browser::new(&site.gateway).create_with(json!({"client_id": "web"})).await;
    site.api.fail(0, None);
    site.api.fail(1, None);
    eventually("a code", || async { (status(&site).await == 201).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_or_silent_answer_about_the_person_costs_the_unionid_and_not_the_sign_in() {
    let site = Site::encrypted().await;
    site.api.know_as("oUnion-1");
    for is_slow in [true, false] {
        let mut page = site.page().await;
        site.tell(&event(OPENID, "SCAN", &page.code.scene, now() + i64::from(is_slow))).await;
        let number = page.number().await;
        if is_slow {
            site.api.delay(Duration::from_secs(8));
        } else {
            site.api.delay(Duration::ZERO);
            site.api.answer_all(Some(48001));
        }
        let started = Instant::now();
        assert!(site.tell(&text(OPENID, &number)).await.contains("已登录"));
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        assert_eq!(page.claims(&site.gateway).await.get("unionid"), None);
        site.api.delay(Duration::ZERO);
        site.api.answer_all(None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_none_is_not_shown() {
    let site = Site::plain().await;
    site.api.answer_all(Some(0));
    assert_eq!(status(&site).await, 503, "an answer without what was asked for");
}

/// The loudest log of a gateway to which everything happens, and its metrics and problems.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_said_anywhere() {
    let table = format!("encoding_aes_key = \"{KEY}\"\nprevious_encoding_aes_key = \"{}\"", "p".repeat(43));
    let site = Site::with(&table, Some(Redis::start()), &[("--log", "trace")]).await;
    site.api.know_as("oUnion-secret");
    let mut said = String::new();
    let mut page = site.page().await;
    site.tell(&scan(OPENID, &page.code.scene)).await;
    let number = page.number().await;
    site.tell(&text(OPENID, &number)).await;
    page.claims(&site.gateway).await;
    for (errors, all) in [(&[40001][..], None), (&[], Some(40164)), (&[], Some(40001)), (&[42001, 42001], None)] {
        site.api.answer_next(errors);
        site.api.answer_all(all);
        said += &create(&Browser::new(&site.gateway)).await.text().await.unwrap();
    }
    site.api.answer_all(None);
    for fault in [Fault::Broken, Fault::Busy, Fault::Hangs] {
        site.api.fail(0, Some(fault));
        site.api.fail(1, Some(fault));
        said += &create(&Browser::new(&site.gateway)).await.text().await.unwrap();
    }
    let forged = Sender { token: "other".into(), ..site.sender.clone() };
    said += &forged.callback(&text(OPENID, "42")).send(&site.gateway).await.text().await.unwrap();
    said += &site.gateway.metrics().await;
    said += &site.gateway.log();
    assert!(said.contains("errcode 40164: add the address") && said.contains("errcode 40001: the AppSecret"));
    assert!(said.contains("TRACE"), "the log is not at its loudest");
    assert!(site.api.tokens().len() > 1);
    let secrets = [SECRET, KEY, &"p".repeat(43), "the+access/token", "the%2Baccess%2Ftoken", OPENID, "oUnion-secret"];
    for secret in secrets {
        let line = said.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} was said");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_asks_wechat() {
    let doctor = async |api: &Api, more: &str| {
        let (_directory, path) = file(&api.table(more));
        tokio::task::spawn_blocking(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_scangate"));
            command.args(["doctor", "--public-url", "http://localhost:1", "--config"]).arg(path);
            let output = command.output().unwrap();
            (output.status.success(), String::from_utf8(output.stdout).unwrap())
        })
        .await
        .unwrap()
    };
    let api = Api::start().await;
    let (is_good, said) = doctor(&api, &format!("encoding_aes_key = \"{KEY}\"")).await;
    assert!(is_good && said.contains("ok    wechat") && !said.contains("WARN  wechat"), "{said}");
    assert!(doctor(&api, "").await.1.contains("WARN  wechat     plain mode"));
    api.answer_all(Some(40164));
    let (is_good, said) = doctor(&api, "").await;
    assert!(!is_good && said.contains("FAIL  wechat") && said.contains("IP whitelist"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_a_share_of_the_days_codes_and_is_told_when_it_is_used_up() {
    let site = Site::with("daily_codes = 2000", None, &[]).await;
    // A hundredth of the day's, a quarter of it at once.
    for _ in 0..5 {
        assert_eq!(status(&site).await, 201);
    }
    let refused = create(&Browser::new(&site.gateway)).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((60..24 * 3600).contains(&wait), "{wait}");
    assert_eq!(site.gateway.metric("scangate_refused_total{reason=\"connector_day\"}").await, 1.0);
    assert_eq!(site.api.count(CODES), 5, "whoever is refused costs no code");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_days_codes_are_used_up_for_the_moment_everybody_is_told_so() {
    let site = Site::with("daily_codes = 24", None, &[]).await;
    assert_eq!(status(&site).await, 201);
    let refused = create(&Browser::new(&site.gateway)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((60..=3_757).contains(&wait), "{wait}");
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "connector_quota");
    assert_eq!(site.gateway.metric("scangate_refused_total{reason=\"connector_quota\"}").await, 1.0);
    // Other clients go on.
    assert_eq!(Browser::new(&site.gateway).create_with(json!({"client_id": "web"})).await["state"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_may_make_few_codes_and_as_many_tickets_as_before() {
    let site = Site::with("", None, &[("--rate-connector", "3")]).await;
    for expected in [201, 201, 201, 429] {
        assert_eq!(status(&site).await, expected);
    }
    assert_eq!(site.api.count(CODES), 3, "whoever is refused costs no code");
    assert_eq!(site.gateway.metric("scangate_refused_total{reason=\"rate_connector\"}").await, 1.0);
    let browser = Browser::new(&site.gateway);
    assert_eq!(browser.create_with(json!({"client_id": "web"})).await["state"], "pending");
}
