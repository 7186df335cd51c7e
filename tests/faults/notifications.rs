//! Notifications that do not come: the subscriber is cut off again and again, the flags are taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::*;

/// Does something to Redis again and again until it is dropped, or as often as it may.
struct Torment {
    is_over: Arc<AtomicBool>,
    times: Arc<AtomicUsize>,
}

impl Torment {
    fn start(redis: &Redis, every: Duration, most: usize, words: &'static [&'static str]) -> Self {
        let (is_over, times) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (mut connection, torment) = (redis.connect(), Self { is_over: is_over.clone(), times: times.clone() });
        std::thread::spawn(move || {
            let mut command = redis::Cmd::new();
            command.arg(words);
            while !is_over.load(Relaxed) && times.load(Relaxed) < most && command.exec(&mut connection).is_ok() {
                times.fetch_add(1, Relaxed);
                std::thread::sleep(every);
            }
        });
        torment
    }

    fn times(&self) -> usize {
        self.times.load(Relaxed)
    }
}

impl Drop for Torment {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
    }
}

/// Has many sign-ins made under it, and returns how often phones were refused and what took longest.
async fn sign_in_under(
    words: &'static [&'static str],
    every: Duration,
    most: usize,
    streams: usize,
) -> (usize, Duration) {
    let redis = Redis::start();
    let (gateway, other) = (patient_gateway_on(&redis).await, patient_gateway_on(&redis).await);
    let mut crowd = crowd(&Browser::new(&gateway), streams).await;
    let ada = Phone::of("ada", &other);
    let torment = Torment::start(&redis, every, most, words);
    let started = Instant::now();
    // All along it, not in one go.
    let all = crowd.iter_mut().enumerate().map(async |(index, (id, events))| {
        tokio::time::sleep(Duration::from_secs(3).mul_f64(index as f64 / streams as f64)).await;
        approve_and_be_told(&ada, id, events).await
    });
    let (times, refusals): (Vec<_>, Vec<_>) = join_all(all).await.into_iter().unzip();
    let (text, longest) = spread(times);
    let refusals = refusals.iter().sum::<usize>();
    println!(
        "{}: {} times in {:.1?}; {streams} streams told after {text}; phones were refused {refusals} times",
        words.join(" "),
        torment.times(),
        started.elapsed()
    );
    (refusals, longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_told_in_time_while_the_subscriber_is_cut_off_ten_times_a_second() {
    let kill = &["CLIENT", "KILL", "TYPE", "pubsub"];
    let (refusals, longest) = sign_in_under(kill, Duration::from_millis(100), usize::MAX, 300).await;
    assert_eq!(refusals, 0, "phones need no subscriber");
    assert!(longest < SOON, "{longest:?}");
}

/// What is left then is that tickets are read every two seconds.
#[tokio::test(flavor = "multi_thread")]
async fn streams_are_told_in_time_while_nobody_may_subscribe() {
    let forbid = &["ACL", "SETUSER", "default", "resetchannels"];
    let (refusals, longest) = sign_in_under(forbid, Duration::from_secs(1), usize::MAX, 200).await;
    assert_eq!(refusals, 0, "phones need no subscriber");
    assert!(longest < SOON, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_are_served_while_commands_are_cut_off_ten_times_a_second() {
    let kill = &["CLIENT", "KILL", "TYPE", "normal"];
    // Not for ever: on a machine too busy to connect within a tenth of a second, nobody would be served at all.
    let (refusals, longest) = sign_in_under(kill, Duration::from_millis(100), 30, 300).await;
    assert!(refusals < 1_500, "phones were refused {refusals} times");
    assert!(longest < SOON, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_told_in_time_while_flags_are_taken_away_again_and_again() {
    let off = &["CONFIG", "SET", "notify-keyspace-events", ""];
    let (_, longest) = sign_in_under(off, Duration::from_millis(300), usize::MAX, 100).await;
    assert!(longest < SOON, "{longest:?}");
}

/// One gateway sets them again before the other one looks, and that one finds nothing wrong.
#[tokio::test(flavor = "multi_thread")]
async fn flags_that_one_gateway_sets_again_have_every_gateway_read_again() {
    let redis = Redis::start();
    let gateways =
        [patient_gateway_on(&redis).await, patient_gateway_on(&redis).await, patient_gateway_on(&redis).await];
    let ada = Phone::of("ada", &gateways[0]);
    for round in 0..3 {
        let mut waiting = Vec::new();
        for gateway in &gateways {
            waiting.push(wait_with(&Browser::new(gateway)).await);
        }
        redis.run::<()>(&["CONFIG", "SET", "notify-keyspace-events", ""]);
        let started = Instant::now();
        join_all(waiting.iter().map(async |(id, _)| insist(&ada, id, "scan").await)).await;
        join_all(waiting.iter_mut().map(async |(_, events)| events.expect("scanned").await)).await;
        println!("round {round}: all were told {:.1?} after the flags were taken away", started.elapsed());
    }
}

/// A Redis with an administrator's flags, and a gateway whose user has just the rights that the documentation lists, with or
/// without that of reading the flags.
async fn under_a_user(may_read: bool) -> (Redis, Gateway) {
    let redis = Redis::with(&["--notify-keyspace-events", "Kghxe"]);
    let rights = "on >secret resetkeys resetchannels ~scangate:* &__keyspace@0__:scangate:* -@all +evalsha +script|load \
        +time +exists +del +hset +hget +hmget +pexpireat +ping +unwatch +subscribe +unsubscribe";
    let mut words = vec!["ACL", "SETUSER", "scangate"];
    words.extend(rights.split_whitespace());
    words.extend(may_read.then_some("+config|get"));
    redis.run::<()>(&words);
    let url = format!("redis://scangate:secret@127.0.0.1:{}/", redis.port());
    let gateway = patient(Gateway::builder().arg("--redis-url", &url)).start().await;
    (redis, gateway)
}

async fn flags_of_an_administrator_are_missed(may_read: bool) {
    let (redis, gateway) = under_a_user(may_read).await;
    let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    let mut waiting = [wait_with(&browser).await, wait_with(&browser).await, wait_with(&browser).await];
    let set = |flags| redis.run::<()>(&["CONFIG", "SET", "notify-keyspace-events", flags]);
    set("");
    ada.act(&waiting[0].0, "scan").await;
    let started = Instant::now();
    within(SOON * 2, "being told without notifications", || async {
        gateway.log().contains("changes arrive late").then_some(())
    })
    .await;
    waiting[0].1.expect("scanned").await;
    println!("may read flags: {may_read}; missed after {:.1?}", started.elapsed());
    // From now on it reads by itself.
    for _ in 0..2 {
        let started = Instant::now();
        ada.act(&waiting[1].0, "scan").await;
        waiting[1].1.expect("scanned").await;
        println!("told without notifications after {:.1?}", started.elapsed());
        waiting.swap(1, 2);
    }
    // A subscriber that has to connect again goes on in this way, and streams open.
    redis.run::<i64>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let (_id, _events) = within(SOON * 2, "a new stream", || async {
        let id = browser.create().await;
        let mut events = browser.events(&id).await;
        events.next().await.filter(|frame| frame.event == "pending").map(|_| (id, events))
    })
    .await;
    let started = Instant::now();
    ada.act(&waiting[0].0, "confirm").await;
    waiting[0].1.expect("confirmed").await;
    println!("told by a new subscriber without notifications after {:.1?}", started.elapsed());
    set("Kghxe");
    within(SOON * 3, "readiness", || async { is_ready(&gateway).await.then_some(()) }).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let started = Instant::now();
    ada.act(&waiting[1].0, "confirm").await;
    waiting[1].1.expect("confirmed").await;
    println!("told with notifications after {:.1?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_may_not_be_set_are_missed_and_tickets_are_read_without_them() {
    flags_of_an_administrator_are_missed(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_may_not_even_be_read_are_missed_and_tickets_are_read_without_them() {
    flags_of_an_administrator_are_missed(false).await;
}
