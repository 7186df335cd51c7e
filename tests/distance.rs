//! What is told late because Redis is far away, in round trips: the table of docs/operations.md, measured.
//!
//! `cargo test distance -- --ignored --nocapture` prints it. What it says is held where a round trip is so long that the time
//! a busy machine takes is little beside it.

use std::time::{Duration, Instant};

use reqwest::StatusCode;

use crate::support::gateway::{Browser, Phone};
use crate::support::proxy::Distance;
use crate::support::{Access, Gateway, Redis, Sentinels, sentinel};

/// How often each is measured; the median counts.
const TIMES: usize = 15;

/// How long each step took.
#[derive(Default)]
struct Measured {
    create: Vec<Duration>,
    open: Vec<Duration>,
    scan: Vec<Duration>,
    scan_to_event: Vec<Duration>,
    confirm: Vec<Duration>,
    confirm_to_event: Vec<Duration>,
    expiry: Vec<Duration>,
}

/// The names of the steps, in their order, with the round trips that each may take: without replicas, and where changes wait
/// for one that is as far from its primary as the gateway is.
const STEPS: [(&str, f64, f64); 7] = [
    ("make a code: request to answer", 1.0, 1.0),
    ("open a stream: request to first event", 3.0, 3.0),
    ("scan: request to answer", 2.0, 4.0),
    ("scan: request to the page's event", 3.0, 6.0),
    ("confirm: request to answer", 2.0, 4.0),
    ("confirm: request to the page's event", 4.0, 6.0),
    ("expiry: deadline to event", 0.5, 0.5),
];

impl Measured {
    fn medians(self) -> [Duration; 7] {
        let Self { create, open, scan, scan_to_event, confirm, confirm_to_event, expiry } = self;
        [create, open, scan, scan_to_event, confirm, confirm_to_event, expiry].map(|mut all| {
            all.sort_unstable();
            all[all.len() / 2]
        })
    }
}

/// Signs in again and again, and lets one code expire each time.
async fn measure(url: &str) -> [Duration; 7] {
    let gateway = Gateway::builder().arg("--redis-url", url).arg("--ticket-ttl", "5s").start().await;
    let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    // Connections are made and scripts are known.
    for _ in 0..20 {
        ada.approve(&browser.create().await).await;
    }
    let mut measured = Measured::default();
    let mut expiring = tokio::task::JoinSet::new();
    for _ in 0..TIMES {
        let asked = Instant::now();
        let id = browser.create().await;
        measured.create.push(asked.elapsed());
        let asked = Instant::now();
        let mut events = browser.events(&id).await;
        events.expect("pending").await;
        measured.open.push(asked.elapsed());
        for action in ["scan", "confirm"] {
            let asked = Instant::now();
            let acting = async {
                assert_eq!(ada.act(&id, action).await.status(), StatusCode::OK);
                asked.elapsed()
            };
            let telling = async {
                events.expect(if action == "scan" { "scanned" } else { "confirmed" }).await;
                asked.elapsed()
            };
            let (answered, told) = tokio::join!(acting, telling);
            let (answers, events) = match action {
                "scan" => (&mut measured.scan, &mut measured.scan_to_event),
                _ => (&mut measured.confirm, &mut measured.confirm_to_event),
            };
            answers.push(answered);
            events.push(told);
        }
        let browser = browser.clone();
        expiring.spawn(async move {
            let asked = Instant::now();
            let id = browser.create().await;
            // Redis has set the deadline half-way between the question and the answer.
            let deadline = asked + asked.elapsed() / 2 + Duration::from_secs(5);
            let mut events = browser.events(&id).await;
            events.expect("pending").await;
            events.expect("expired").await;
            deadline.elapsed()
        });
    }
    measured.expiry = expiring.join_all().await;
    measured.medians()
}

/// Prints what was measured.
fn table(title: &str, distances: &[u64], columns: &[[Duration; 7]], expected: impl Fn(usize) -> f64) {
    let head: Vec<_> = distances.iter().map(|millis| format!("{millis} ms away")).collect();
    println!("\n| {title} | round trips | {} |\n|---|---|{}", head.join(" | "), "---|".repeat(head.len()));
    for (index, (step, ..)) in STEPS.iter().enumerate() {
        let cells: Vec<_> =
            columns.iter().map(|column| format!("{:.0} ms", column[index].as_secs_f64() * 1000.0)).collect();
        println!("| {step} | {} | {} |", expected(index), cells.join(" | "));
    }
}

/// Checks that nothing takes a round trip more than is said, where one is long enough to be told from a busy machine.
fn hold(millis: u64, column: &[Duration; 7], expected: impl Fn(usize) -> f64) {
    for (index, (step, ..)) in STEPS.iter().enumerate() {
        let round_trips = column[index].as_secs_f64() * 1000.0 / millis as f64;
        let expected = expected(index);
        assert!(round_trips < expected + 0.9, "{step} took {round_trips:.2} round trips, not {expected}");
        assert!(
            round_trips > expected - 0.6,
            "{step} took {round_trips:.2} round trips, not {expected}: mend the table"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures for minutes; tests/run --soak"]
async fn what_is_told_late_is_what_is_said() {
    const DISTANCES: [u64; 4] = [0, 2, 10, 80];

    let mut columns = Vec::new();
    for millis in DISTANCES {
        let redis = Redis::far(Distance::steady(Duration::from_millis(millis)), &[], Access::default());
        columns.push(measure(&redis.url()).await);
    }
    table("one server", &DISTANCES, &columns, |index| STEPS[index].1);
    let mut waiting = Vec::new();
    for millis in DISTANCES {
        let distance = Some(Distance::steady(Duration::from_millis(millis)));
        let redis = tokio::task::block_in_place(|| {
            Sentinels::with(sentinel::Options { distance, ..sentinel::Options::default() })
        });
        waiting.push(measure(&redis.url()).await);
    }
    table("with Sentinel, and waiting for one replica", &DISTANCES, &waiting, |index| STEPS[index].2);
    hold(80, &columns[3], |index| STEPS[index].1);
    hold(80, &waiting[3], |index| STEPS[index].2);
}
