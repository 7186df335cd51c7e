//! The network between a gateway and Redis: every connection half open, the cable out, packets swallowed.

use std::path::PathBuf;

use super::*;
use crate::support::gateway::token;
use crate::support::netns::Machine;
use crate::support::process::Process;

async fn gateway_behind(proxy: &Proxy) -> Gateway {
    settings(Gateway::builder().arg("--redis-url", &format!("redis://127.0.0.1:{}/", proxy.port()))).start().await
}

async fn try_create(browser: &Browser) -> StatusCode {
    browser.request(reqwest::Method::POST, "/v1/tickets").json(&json!({})).send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_in_time_while_every_connection_is_half_open() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port());
    let (gateway, other) = (gateway_behind(&proxy).await, gateway_on(&redis).await);
    let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    let mut crowd = crowd(&browser, 20).await;
    let (scanned, mut scanned_events) = wait_with(&browser).await;
    ada.approve(&browser.create().await).await;
    ada.act(&scanned, "scan").await;
    scanned_events.expect("scanned").await;

    proxy.swallow();
    let swallowed = Instant::now();
    let mut longest = Duration::ZERO;
    while swallowed.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        assert_eq!(ada.act(&scanned, "confirm").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(try_create(&browser).await, StatusCode::SERVICE_UNAVAILABLE);
        longest = longest.max(asked.elapsed());
    }
    // Meanwhile others go on.
    for (id, _) in &crowd {
        insist(&Phone::of("bob", &other), id, "scan").await;
    }
    eventually("unreadiness", || async { (!is_ready(&gateway).await).then_some(()) }).await;
    assert_eq!(gateway.metric("scangate_streams_open").await, 21.0, "open streams stay open");
    proxy.pass();
    let passed = Instant::now();
    let refusals = insist(&ada, &scanned, "confirm").await;
    let confirmed = passed.elapsed();
    scanned_events.expect("confirmed").await;
    let told = crowd.iter_mut().map(async |(_, events)| {
        events.expect("scanned").await;
        passed.elapsed()
    });
    println!(
        "two requests took {longest:.1?} at most while half open; confirmed {confirmed:.1?} after that, refused \
         {refusals} times; others' scans were told after {}",
        spread(join_all(told).await).0
    );
    assert!(longest < Duration::from_secs(5), "{longest:?}");
}

/// As a firewall does with connections on which nothing was said for minutes: nobody is told, and new ones are fine.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_forgotten_on_the_way_cost_nobody_a_request() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port());
    let gateway = gateway_behind(&proxy).await;
    let browser = Browser::new(&gateway);
    for _ in 0..20 {
        browser.create().await;
    }
    proxy.swallow();
    proxy.pass();
    let asked = Instant::now();
    let statuses = join_all((0..20).map(|_| try_create(&browser))).await;
    println!("20 requests over connections that were forgotten took {:.1?}", asked.elapsed());
    assert_eq!(statuses, [StatusCode::CREATED; 20]);
}

/// A gateway on a machine of its own, to which people come by another way than that to Redis.
struct Remote {
    machine: Machine,
    gateway: Gateway,
    redis: Redis,
    http: reqwest::Client,
    _directory: tempfile::TempDir,
}

const ORIGIN: &str = "http://localhost:8080";

impl Remote {
    async fn start() -> Self {
        let machine = Machine::start();
        let redis = Redis::with(&["--bind", "127.0.0.1", &machine.here(), "--protected-mode", "no"]);
        let directory = tempfile::tempdir().unwrap();
        let path: PathBuf = directory.path().join("gateway.sock");
        let url = format!("redis://{}:{}/", machine.here(), redis.port());
        let builder = settings(Gateway::builder().arg("--redis-url", &url)).arg("--public-url", ORIGIN);
        let listen = format!("unix:{}", path.display());
        let gateway = builder.arg("--listen", &listen).run_by(&machine.runner()).start().await;
        let http = reqwest::Client::builder().cookie_store(true).unix_socket(path).build().unwrap();
        Self { machine, gateway, redis, http, _directory: directory }
    }

    fn browser(&self) -> Browser {
        Browser::through(self.http.clone(), ORIGIN)
    }

    fn phone(&self, subject: &str) -> Phone {
        Phone::through(self.http.clone(), ORIGIN, token(subject))
    }

    /// What its admin listener answers, which nobody reaches from elsewhere.
    async fn admin(&self, path: &str) -> String {
        let mut command = self.machine.command("curl");
        command.args(["--silent", "--max-time", "5", "--write-out", "\n%{http_code}\n"]);
        let mut curl = Process::start(command.arg(format!("{}{path}", self.gateway.admin)));
        eventually("curl's end", || std::future::ready(curl.exit_code())).await;
        // Its output is read by another thread.
        eventually("curl's last line", || async { curl.lines().last().filter(|line| line.len() == 3).cloned() }).await;
        curl.lines().join("\n")
    }

    async fn is_ready(&self) -> bool {
        self.admin("/readyz").await.ends_with("200")
    }
}

async fn a_gateway_that_is_cut_off_is_right_again(cut: impl FnOnce(&Machine), mend: impl FnOnce(&Machine)) {
    const STREAMS: usize = 60;

    let remote = Remote::start().await;
    let other = gateway_on(&remote.redis).await;
    let (browser, ada, bob) = (remote.browser(), remote.phone("ada"), Phone::of("bob", &other));
    let mut crowd = crowd(&browser, STREAMS).await;
    let (own, mut own_events) = wait_with(&browser).await;
    ada.act(&own, "scan").await;
    own_events.expect("scanned").await;

    cut(&remote.machine);
    let is_cut = Instant::now();
    // Others go on: half of those who wait here are signed in by way of the other gateway.
    for (index, (id, _)) in crowd.iter().enumerate() {
        insist(&bob, id, "scan").await;
        if index % 2 == 0 {
            insist(&bob, id, "confirm").await;
        }
    }
    let mut longest = Duration::ZERO;
    while is_cut.elapsed() < Duration::from_secs(8) {
        let asked = Instant::now();
        assert_eq!(ada.act(&own, "confirm").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    eventually("unreadiness", || async { (!remote.is_ready().await).then_some(()) }).await;
    let open = remote.admin("/metrics").await;
    assert!(open.contains(&format!("scangate_streams_open {}", STREAMS + 1)), "open streams stay open");

    mend(&remote.machine);
    let mended = Instant::now();
    let confirming = async {
        let refusals = insist(&ada, &own, "confirm").await;
        (refusals, mended.elapsed(), own_events.expect("confirmed").await)
    };
    let telling = join_all(crowd.iter_mut().enumerate().map(async |(index, (_, events))| {
        let frame = until(events, if index % 2 == 0 { "confirmed" } else { "scanned" }).await;
        assert_eq!(frame.data["token"]["access_token"].is_string(), index % 2 == 0);
        mended.elapsed()
    }));
    let ((refusals, confirmed, _), told) = tokio::join!(confirming, telling);
    let (text, longest_told) = spread(told);
    println!(
        "a phone was answered in {longest:.1?} at most while cut off; confirmed {confirmed:.1?} after that, refused \
         {refusals} times; {STREAMS} streams were told after {text}"
    );
    assert!(longest_told < Duration::from_secs(8), "{longest_told:?}");
    eventually("readiness", || async { remote.is_ready().await.then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_cable_was_pulled_tells_everything_when_it_is_back() {
    a_gateway_that_is_cut_off_is_right_again(Machine::unplug, Machine::plug).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_hears_nothing_tells_everything_when_it_does_again() {
    a_gateway_that_is_cut_off_is_right_again(Machine::deafen, Machine::undeafen).await;
}
