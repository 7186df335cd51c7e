//! The load generator against real gateways: a small run of every scenario, the losses that it must detect, and how it ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::support::gateway::{Builder, file, token};
use crate::support::nginx::Place;
use crate::support::openid::{self, App};
use crate::support::process::Process;
use crate::support::{Edge, Gateway, Redis, SOON, eventually};

fn loadgen(args: &[&str]) -> Command {
    let mut command = Command::new(crate::support::loadgen());
    command.args(args);
    command
}

/// Runs the load generator to the end; returns the exit code, the result, and the text on standard error.
fn run(args: &[&str]) -> (i32, Value, String) {
    let output = loadgen(args).args(["--json", "-"]).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let result = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), result, errors)
}

/// Runs the load generator, which must succeed; returns the result.
fn succeed(args: &[&str]) -> Value {
    let (code, result, errors) = run(args);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(result["interrupted"], false);
    result
}

/// A gateway with demo users.
fn demo() -> Builder {
    Gateway::builder().own_identity().arg("--demo", "true")
}

fn wait_for_exit(process: &mut Process) -> i32 {
    let started = Instant::now();
    loop {
        if let Some(code) = process.exit_code() {
            return code;
        }
        assert!(started.elapsed() < SOON * 6, "still running:\n{}", process.lines().join("\n"));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Starts a load generator that reports its phases, and waits until it is in `phase`.
async fn start_until(phase: &str, args: &[&str]) -> Process {
    let process = Process::start(loadgen(args).args(["--status", "json"]));
    let phase = format!("\"phase\":\"{phase}\"");
    eventually("the phase", || async { process.lines().iter().any(|line| line.contains(&phase)).then_some(()) }).await;
    process
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn assert_histogram(histogram: &Value, count: u64) {
    assert_eq!(histogram["count"], count, "{histogram}");
    let at = |name: &str| histogram[name].as_f64().unwrap_or_else(|| panic!("{name} is missing in {histogram}"));
    let rising = ["min", "p50", "p90", "p99", "p99_9", "max"].map(at);
    assert!(rising.is_sorted(), "{histogram}");
    assert!(at("mean") >= at("min") && at("mean") <= at("max"), "{histogram}");
}

#[tokio::test]
async fn idle_streams_are_held_and_their_heartbeats_counted() {
    let gateway = demo().arg("--heartbeat", "1s").start().await;
    let args = ["idle", "--target", &gateway.base, "--streams", "40", "--processes", "2", "--hold", "3s"];
    let result = succeed(&[&args[..], &["--rate", "0"]].concat());
    assert_eq!(result["scenario"], "idle");
    assert_eq!(result["targets"], serde_json::json!([gateway.base]));
    assert_eq!(result["options"]["processes"], 2);
    assert!(result["started_at"].as_str().unwrap().ends_with('Z'));
    assert!(result["seconds"].as_f64().unwrap() >= 3.0);
    let streams = serde_json::json!({
        "wanted": 40, "opened": 40, "open_at_end": 40, "lost": 0, "refused": 0, "renewed": 0, "reopened": 0, "errors": {},
    });
    assert_eq!(result["streams"], streams);
    assert!(result["open"]["per_second"].as_f64().unwrap() > 0.0);
    assert_histogram(&result["open"]["latency_ms"], 40);
    assert!(result["heartbeats"]["seen"].as_u64().unwrap() >= 40, "{}", result["heartbeats"]);
    for other in ["login", "expiry", "storm", "poll"] {
        assert_eq!(result.get(other), None);
    }
}

#[tokio::test]
async fn heartbeats_are_expected_as_often_as_the_ticket_says() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("result.json");
    let gateway = demo().arg("--heartbeat", "1s").start().await;
    let args = ["idle", "--target", &gateway.base, "--streams", "3", "--hold", "8s", "--json", file.to_str().unwrap()];
    let mut process = start_until("holding", &args).await;
    gateway.process.signal("STOP");
    let code = wait_for_exit(&mut process);
    gateway.process.signal("CONT");
    assert_eq!(code, 0, "{:?}", process.lines());
    let heartbeats = read(&file)["heartbeats"].clone();
    let (seen, missed) = (heartbeats["seen"].as_u64().unwrap(), heartbeats["missed"].as_u64().unwrap());
    // On a busy machine, a heartbeat before the stop may be late, too.
    assert!((3..=3 + seen).contains(&missed), "{heartbeats}");
}

#[tokio::test]
async fn expired_tickets_are_renewed_while_idle() {
    let gateway = demo().arg("--ticket-ttl", "5s").start().await;
    let result = succeed(&["idle", "--target", &gateway.base, "--streams", "20", "--hold", "7s", "--tickets-first"]);
    assert_eq!(result["streams"]["renewed"], 20);
    assert_eq!(result["streams"]["lost"], 0);
}

#[tokio::test]
async fn logins_are_timed_over_a_unix_socket_while_others_wait() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}/gateway.sock", directory.path().display());
    let _gateway = demo().arg("--listen", &format!("{socket},127.0.0.1:0")).start().await;
    let args = ["login", "--target", &socket, "--streams", "20", "--logins", "30", "--concurrency-logins", "3"];
    let result = succeed(&args);
    let login = &result["login"];
    assert_eq!((&login["count"], &login["failed"]), (&30.into(), &0.into()));
    assert!(login["per_second"].as_f64().unwrap() > 0.0);
    for name in ["confirm_to_event_ms", "confirm_request_ms", "whole_ms"] {
        assert_histogram(&login[name], 30);
    }
    assert_eq!(result["streams"]["open_at_end"], 20);
}

#[tokio::test]
async fn sign_ins_by_openid_connect_are_timed_and_their_requests_counted() {
    let app = App::new("loadgen").with("single_sign_on = true");
    let (_folder, builder) = openid::builder(&[&app]);
    let gateway = builder.start().await;
    let (_secret_folder, secret) = file(app.secret.as_deref().unwrap());
    let (_token_folder, person) = file(&token("ada"));
    let args = ["login", "--target", &gateway.base, "--streams", "0", "--logins", "6", "--client-id", app.id];
    let client = ["--redirect-uri", &app.redirect_uri, "--client-secret-file", secret.to_str().unwrap()];
    let approver = ["--approver-token-file", person.to_str().unwrap()];
    let args = [&args[..], &client, &approver].concat();
    for (more, requests, scans) in [(&[][..], 6 * 8, 6), (&["--single-sign-on"], 6 * 2, 1)] {
        let login = succeed(&[&args[..], more].concat())["login"].clone();
        assert_eq!((&login["count"], &login["failed"], &login["requests"]), (&6.into(), &0.into(), &requests.into()));
        assert_histogram(&login["whole_ms"], 6);
        assert_histogram(&login["confirm_to_event_ms"], scans);
    }
    let wrong = ["--client-secret-file", person.to_str().unwrap()];
    let (code, result, errors) = run(&[&args[..9], &client[..2], &wrong, &approver].concat());
    assert_eq!((code, &result["login"]["failed"]), (1, &6.into()), "{errors}");
    let refused = &result["streams"]["errors"]["login: token: 401 Unauthorized invalid_client"];
    assert!(refused.as_u64() >= Some(1), "{result}");
}

#[tokio::test]
async fn tickets_expire_and_every_stream_receives_the_event() {
    let gateway = demo().arg("--ticket-ttl", "5s").start().await;
    let result =
        succeed(&["expiry", "--target", &gateway.base, "--streams", "30", "--background", "50", "--rate", "0"]);
    let expiry = &result["expiry"];
    assert_eq!((&expiry["count"], &expiry["delivered"], &expiry["missing"]), (&30.into(), &30.into(), &0.into()));
    assert_histogram(&expiry["lag_ms"], 30);
    assert!(gateway.metric("scangate_tickets_total{outcome=\"created\"}").await >= 80.0);
}

#[tokio::test]
async fn expiry_is_compared_with_plain_keys_among_others_and_leaves_nothing() {
    let redis = Redis::start();
    let gateway = demo().redis(&redis).arg("--ticket-ttl", "5s").start().await;
    let url = redis.url();
    let args = ["expiry", "--target", &gateway.base, "--streams", "50", "--rate", "0"];
    let result = succeed(&[&args[..], &["--redis-url", &url, "--other-keys", "10000"]].concat());
    let expiry = &result["expiry"];
    assert_eq!(
        (&expiry["delivered"], &expiry["missing"], &expiry["other_keys"]),
        (&50.into(), &0.into(), &10_000.into())
    );
    assert_histogram(&expiry["lag_ms"], 50);
    assert_histogram(&expiry["deadline_error_ms"], 50);
    let plain = &expiry["plain"];
    assert_eq!((&plain["count"], &plain["not_made"]), (&50.into(), &0.into()));
    let delivered = plain["delivered"].as_u64().unwrap();
    assert_eq!(delivered + plain["missing"].as_u64().unwrap(), 50);
    assert_histogram(&plain["lag_ms"], delivered);
    // Most delivered notifications arrive later than the gateway's events, because Redis must first find the expired keys.
    assert!(delivered == 0 || plain["lag_ms"]["p50"].as_f64() > expiry["lag_ms"]["p50"].as_f64(), "{expiry}");
    assert_eq!(result["options"]["redis"], format!("127.0.0.1:{}", redis.port()));
    let left: Vec<_> = redis.keys().into_iter().filter(|key| key.starts_with("loadgen:")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn ctrl_c_removes_the_filler_keys() {
    let redis = Redis::start();
    let gateway = demo().redis(&redis).start().await;
    let url = redis.url();
    let args = ["expiry", "--target", &gateway.base, "--streams", "5", "--redis-url", &url, "--other-keys", "20000"];
    let mut process = start_until("running", &args).await;
    assert!(redis.run::<u64>(&["DBSIZE"]) >= 20_000);
    process.signal("INT");
    assert_eq!(wait_for_exit(&mut process), 130);
    assert!(redis.keys().iter().all(|key| !key.starts_with("loadgen:")));
}

#[tokio::test]
async fn a_redis_that_reports_nothing_is_refused() {
    let redis = Redis::start();
    let gateway = demo().start().await;
    let (code, _, errors) = run(&["expiry", "--target", &gateway.base, "--redis-url", &redis.url()]);
    assert_eq!(code, 2);
    assert!(errors.contains("notify-keyspace-events"), "{errors}");
}

#[tokio::test]
async fn presenters_poll() {
    let gateway = demo().start().await;
    let args = ["poll", "--target", &gateway.base, "--streams", "20", "--interval", "0.2s", "--hold", "2s"];
    let poll = succeed(&args)["poll"].clone();
    assert_eq!(poll["failed"], 0);
    let polls = poll["polls"].as_u64().unwrap();
    assert!(polls >= 40, "{poll}");
    assert_histogram(&poll["latency_ms"], polls);
}

#[tokio::test]
async fn a_storm_after_a_replica_is_killed_loses_no_confirmation() {
    let redis = Redis::start();
    let gateways = [Gateway::on(&redis).await, Gateway::on(&redis).await];
    let (_directory, file) = crate::support::gateway::file(&token("ada"));
    let [one, other] = gateways.each_ref().map(|gateway| gateway.base.as_str());
    let pid = gateways[0].process.id().to_string();
    let args = ["storm", "--target", one, "--target", other, "--streams", "40", "--pid", &pid, "--after", "1s"];
    let more = ["--hold", "8s", "--logins-per-second", "10", "--approver-token-file", file.to_str().unwrap()];
    let result = succeed(&[&args[..], &more].concat());
    let storm = &result["storm"];
    let lost = storm["lost_streams"].as_u64().unwrap();
    assert!((10..=30).contains(&lost), "{lost}");
    assert_eq!(result["streams"]["reopened"], lost);
    assert!(storm["back_after_s"].as_f64().is_some(), "{storm}");
    let confirmations = &storm["confirmations"];
    assert!(confirmations["made"].as_u64().unwrap() >= 20, "{confirmations}");
    assert_eq!((&confirmations["delivered"], &confirmations["lost"]), (&confirmations["made"], &0.into()));
    assert_histogram(&storm["reconnect_ms"], lost);
    assert!(storm["peak_opens_per_second"].as_u64().unwrap() > 0);
    let timeline = storm["timeline"].as_array().unwrap();
    assert!(
        timeline.iter().any(|step| step["open"].as_u64().unwrap() < 40 && step["lost_total"] == lost),
        "{timeline:?}"
    );
}

#[tokio::test]
async fn tls_and_http2_go_through_the_edge() {
    let place = Place::choose();
    let gateway = place.gateway().own_identity().arg("--demo", "true").start().await;
    let edge = Edge::before(&gateway, place);
    let certificate = edge.certificate_file();
    let common = ["--target", &edge.base, "--streams", "20", "--source-addresses", "5"];
    let trusting = ["--ca", certificate.to_str().unwrap()];
    succeed(&[&["idle", "--hold", "1s"], &common[..], &trusting].concat());
    assert!(edge.access_log().iter().all(|line| line.contains("\"protocol\":\"HTTP/2.0\"")), "{:?}", edge.access_log());
    succeed(&[&["login", "--logins", "5", "--insecure", "--http", "1.1"], &common[..]].concat());
    assert!(edge.access_log().iter().any(|line| line.contains("\"protocol\":\"HTTP/1.1\"")));
    let (code, _, errors) = run(&[&["idle"], &common[..]].concat());
    assert_eq!(code, 2, "an untrusted certificate was accepted");
    assert!(errors.contains("cannot be reached: connect: invalid peer certificate"), "{errors}");
}

/// Responds as any server of event streams may: with a head, a comment and nothing else. Returns the requested path.
fn respond(mut connection: std::net::TcpStream) -> (String, std::net::TcpStream) {
    let mut head = String::new();
    let mut lines = BufReader::new(connection.try_clone().unwrap());
    while !head.ends_with("\r\n\r\n") {
        assert!(lines.read_line(&mut head).unwrap() > 0, "{head}");
    }
    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: beat\n\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), connection)
}

#[test]
fn another_servers_streams_are_opened_by_number() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let _probe = listener.accept().unwrap();
        (0..3).map(|_| respond(listener.accept().unwrap().0)).collect::<Vec<_>>()
    });
    let args = ["idle", "--target", &target, "--streams", "3", "--hold", "3s", "--events-path", "/sub/{n}?x"];
    let result = succeed(&[&args[..], &["--heartbeat", "500ms"]].concat());
    assert_eq!(result["heartbeats"], serde_json::json!({ "seen": 3, "missed": 3 }));
    let (mut paths, _connections): (Vec<_>, Vec<_>) = server.join().unwrap().into_iter().unzip();
    paths.sort();
    assert_eq!(paths, ["/sub/0?x", "/sub/1?x", "/sub/2?x"]);
}

#[tokio::test]
async fn lost_streams_are_counted_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("result.json");
    let mut gateway = demo().start().await;
    let args = ["idle", "--target", &gateway.base, "--streams", "20", "--hold", "2s", "--json", file.to_str().unwrap()];
    let mut process = start_until("holding", &args).await;
    gateway.process.kill();
    assert_eq!(wait_for_exit(&mut process), 1);
    assert_eq!(read(&file)["streams"]["lost"], 20);
    assert!(process.lines().iter().any(|line| line.contains("LOST  20 streams lost")), "{:?}", process.lines());
}

#[tokio::test]
async fn what_is_refused_is_told_apart() {
    let gateway = demo().arg("--rate-create", "6").start().await;
    let (code, result, _) = run(&["idle", "--target", &gateway.base, "--streams", "20", "--hold", "1s"]);
    assert_eq!(code, 1);
    let refused = result["streams"]["refused"].as_u64().unwrap();
    assert!((10..20).contains(&refused), "{result}");
    assert_eq!(result["streams"]["errors"]["create: 429 Too Many Requests rate_limited"], refused);
}

#[tokio::test]
async fn ctrl_c_ends_it_with_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("result.json");
    let gateway = demo().start().await;
    let args =
        ["idle", "--target", &gateway.base, "--streams", "20", "--hold", "10m", "--json", file.to_str().unwrap()];
    let mut process = start_until("holding", &args).await;
    process.signal("INT");
    assert_eq!(wait_for_exit(&mut process), 130);
    let result = read(&file);
    assert_eq!((&result["interrupted"], &result["streams"]["open_at_end"]), (&true.into(), &20.into()));
    assert!(process.lines().iter().any(|line| line.contains("20 of 20 opened")), "{:?}", process.lines());
}

#[tokio::test]
async fn its_time_is_bounded() {
    let gateway = demo().start().await;
    let args = ["idle", "--target", &gateway.base, "--streams", "5", "--hold", "10m", "--max-time", "1s"];
    let (code, result, errors) = run(&args);
    assert_eq!((code, &result["interrupted"]), (1, &true.into()));
    assert!(errors.contains("--max-time"), "{errors}");
}

#[tokio::test]
async fn workers_end_with_their_parent() {
    let gateway = demo().start().await;
    let args = ["idle", "--target", &gateway.base, "--streams", "20", "--processes", "2", "--hold", "10m"];
    let process = start_until("holding", &args).await;
    assert!(gateway.metric("scangate_streams_open").await >= 20.0);
    // Not `kill`, which would end the workers, too.
    process.signal("KILL");
    eventually("the end of the streams", || async {
        (gateway.metric("scangate_streams_open").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn invalid_options_are_refused_before_anything_is_opened() {
    let gateway = Gateway::start().await;
    let target = gateway.base.as_str();
    for (args, reason) in [
        (&["idle"][..], "--target"),
        (&["idle", "--target", "ftp://localhost"], "neither http nor https"),
        (&["idle", "--target", "http://127.0.0.1:1"], "cannot be reached: connect: refused"),
        (&["idle", "--target", target, "--streams", "2000000"], "1000000"),
        (&["idle", "--target", target, "--hold", "0s"], "from 1ms to 24h"),
        (&["idle", "--target", target, "--streams", "500000", "--processes", "1"], "use more --processes"),
        (&["idle", "--target", target, "--client-id", "nobody"], "create: 400 Bad Request unknown_client"),
        (&["login", "--target", target, "--events-path", "/x"], "unexpected argument '--events-path'"),
        (&["expiry", "--target", target, "--other-keys", "9"], "--redis-url"),
        (&["expiry", "--target", target, "--redis-url", "redis://127.0.0.1:1"], "cannot be reached"),
        (&["login", "--target", target], "--approver-token-file"),
        (&["login", "--target", target, "--redirect-uri", "https://app.example/cb"], "--client-secret-file"),
        (&["storm", "--target", target, "--pid", "2147483647"], "cannot be signalled"),
    ] {
        let (code, result, errors) = run(args);
        assert_eq!(code, 2, "{args:?}: {errors}");
        assert_eq!(result, Value::Null);
        assert!(errors.contains(reason), "{args:?}: {errors}");
    }
}

fn help(args: &[&str]) -> String {
    String::from_utf8(loadgen(args).arg("--help").output().unwrap().stdout).unwrap()
}

#[test]
fn help_names_every_scenario_and_exit_code() {
    let help = help(&[]);
    for word in ["idle", "login", "expiry", "storm", "poll", "130", "Examples:"] {
        assert!(help.contains(word), "{word} is missing");
    }
}
