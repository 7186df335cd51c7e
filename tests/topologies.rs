//! The tests' own Redis topologies do what the tests that stand on them believe of them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::proxy::Distance;
use crate::support::{Access, Cluster, Proxy, Redis, SOON, Sentinels, cluster, sentinel, until};

/// Writes a key and waits until `replicas` have it.
fn write(node: &Redis, key: &str, replicas: &str) {
    let mut connection = node.connect();
    redis::cmd("SET").arg(key).arg("value").exec(&mut connection).unwrap();
    let reached: u8 = redis::cmd("WAIT").arg(replicas).arg(5000).query(&mut connection).unwrap();
    assert_eq!(reached.to_string(), replicas);
}

fn read(node: &Redis, key: &str) -> Option<String> {
    node.run(&["GET", key])
}

fn started<T>(what: &str, start: impl FnOnce() -> T) -> T {
    let before = Instant::now();
    let this = start();
    println!("{what} started in {:?}", before.elapsed());
    this
}

#[test]
fn a_key_survives_failovers_of_sentinel() {
    let mut redis = started("sentinels", Sentinels::start);
    let first = redis.primary();
    write(redis.node(first), "key", "2");
    let second = redis.failover();
    assert_ne!(second, first);
    assert_eq!(read(redis.node(second), "key").as_deref(), Some("value"));

    until(SOON, "the demotion of the first primary", || (redis.node(second).replicas_online() == 2).then_some(()));
    assert!(redis.sentinel(1).run::<String>(&["SENTINEL", "CKQUORUM", sentinel::NAME]).starts_with("OK 3 usable"));
    redis.sentinel_mut(0).kill();
    redis.node_mut(second).kill();
    let third = redis.wait_for_new_primary(second);
    assert_eq!(redis.primary(), third);
    assert_eq!(read(redis.node(third), "key").as_deref(), Some("value"));
    redis.node_mut(second).restart();
    assert!(redis.node(second).is_primary(), "nobody has told it anything else yet");
    until(SOON * 2, "its demotion", || (!redis.node(second).is_primary()).then_some(()));
}

#[test]
fn sentinel_and_its_nodes_are_guarded() {
    let redis = started("guarded sentinels", || {
        Sentinels::with(sentinel::Options {
            access: Access::default().user("ada", "secret").tls(),
            sentinel_password: Some("other"),
            redis: &["--appendonly", "yes"],
            ..sentinel::Options::default()
        })
    });
    let url = redis.url();
    assert!(url.starts_with("rediss-sentinel://ada:secret@127.0.0.1:"), "{url}");
    assert!(url.ends_with("/gate?sentinel_password=other"), "{url}");
    assert!(redis.access().authority_file().unwrap().exists());
    let first = redis.primary();
    write(redis.node(first), "key", "2");
    let second = redis.failover();
    assert_eq!(read(redis.node(second), "key").as_deref(), Some("value"));
    assert!(
        redis::Client::open(format!("redis://127.0.0.1:{}/", redis.node(0).port())).unwrap().get_connection().is_err()
    );
}

#[test]
fn a_key_survives_failovers_of_a_cluster() {
    let mut cluster = started("cluster", Cluster::start);
    let first = cluster.owner("key");
    assert_eq!(cluster.replica_of(first), first + 3);
    write(cluster.node(first), "key", "1");
    let second = cluster.failover(first);
    assert_eq!((second, cluster.owner("key")), (first + 3, second));
    assert_eq!(cluster.replica_of(second), first);
    assert_eq!(read(cluster.node(second), "key").as_deref(), Some("value"));

    until(SOON, "replication", || (cluster.node(second).replicas_online() == 1).then_some(()));
    cluster.kill(second);
    assert_eq!(cluster.wait_for_new_primary(second, cluster.slot("key")), first);
    assert_eq!(read(cluster.node(first), "key").as_deref(), Some("value"));
    cluster.restart(second);
    cluster.agreed();
    assert_eq!(cluster.replica_of(first), second);
}

#[test]
fn a_key_moves_with_its_slot_step_by_step() {
    let cluster = Cluster::start();
    let (slot, from) = (cluster.slot("key"), cluster.owner("key"));
    let to = (from + 1) % 3;
    write(cluster.node(from), "key", "1");
    let refusal =
        |node: usize| cluster.node(node).try_run::<String>(&["GET", "key"]).unwrap_err().code().unwrap().to_owned();
    assert_eq!(refusal(to), "MOVED");
    cluster.begin_move(slot, to);
    assert_eq!(read(cluster.node(from), "key").as_deref(), Some("value"));
    cluster.migrate_keys(slot, to);
    assert_eq!((refusal(from).as_str(), refusal(to).as_str()), ("ASK", "MOVED"));
    cluster.finish_move(slot, to);
    assert_eq!(refusal(from), "MOVED");
    assert_eq!(cluster.owner("key"), to);
    assert_eq!(read(cluster.node(to), "key").as_deref(), Some("value"));
}

#[test]
fn a_guarded_cluster_grows_and_shrinks() {
    let mut cluster = started("guarded cluster", || {
        Cluster::with(cluster::Options {
            access: Access::default().password("secret").tls(),
            ..cluster::Options::default()
        })
    });
    let url = cluster.url();
    assert!(url.starts_with("rediss-cluster://:secret@127.0.0.1:"), "{url}");
    assert!(cluster.access().authority_file().is_some());
    let old = cluster.owner("key");
    write(cluster.node(old), "key", "1");
    let new = cluster.add_primary();
    cluster.move_slot(cluster.slot("key"), new);
    assert_eq!((cluster.owner("key"), cluster.primaries().len()), (new, 4));
    cluster.remove_primary(old);
    assert!(!cluster.primaries().contains(&old));
    cluster.remove_primary(new);
    assert_eq!(read(cluster.node(cluster.owner("key")), "key").as_deref(), Some("value"));
    assert_eq!(cluster.primaries().len(), 2);
}

/// Sends `PING`; tells what comes back: something, an end, or nothing at all.
fn ping(socket: &mut TcpStream) -> &'static str {
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut answer = [0; 1024];
    match socket.write_all(b"PING\r\n").and_then(|()| socket.read(&mut answer)) {
        Ok(0) => "end",
        Ok(_) => "answer",
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => "nothing",
        Err(_) => "end",
    }
}

#[test]
fn connections_through_a_proxy_break_on_demand() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port());
    let connect = || TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let (mut plain, mut subscriber) = (connect(), connect());
    subscriber.write_all(b"SUBSCRIBE channel\r\n").unwrap();
    assert_eq!((ping(&mut plain), ping(&mut subscriber)), ("answer", "answer"));
    proxy.swallow_subscribers();
    // What it had been sent before may still be there.
    until(SOON, "silence", || (ping(&mut subscriber) == "nothing").then_some(()));
    assert_eq!(ping(&mut plain), "answer");
    proxy.swallow();
    let mut late = connect();
    assert_eq!((ping(&mut plain), ping(&mut late)), ("nothing", "nothing"));
    proxy.pass();
    assert_eq!((ping(&mut plain), ping(&mut late), ping(&mut connect())), ("nothing", "nothing", "answer"));
    let mut open = connect();
    assert_eq!(ping(&mut open), "answer");
    proxy.cut();
    assert_eq!((ping(&mut open), ping(&mut plain), ping(&mut connect())), ("end", "end", "answer"));
}

/// Bytes are late by the distance, in their order, and as many at a time as ever.
#[test]
fn what_is_behind_a_proxy_may_be_far_away() {
    let redis = Redis::start();
    let round_trip = Duration::from_millis(80);
    let proxy = Proxy::at(Distance::steady(round_trip), redis.port());
    let started = Instant::now();
    let mut socket = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = vec![0; 7];
    for round_trips in 2..5 {
        socket.write_all(b"PING\r\n").unwrap();
        socket.read_exact(&mut answer).unwrap();
        // The first one is that of the connection.
        assert!(started.elapsed() >= round_trip * round_trips, "{round_trips}: {:?}", started.elapsed());
    }
    // Ten thousand questions at once: were each to wait for the one before it, this would take a quarter of an hour.
    let rough = Proxy::at(Distance { held_back_percent: 5.0, ..Distance::rough(round_trip) }, redis.port());
    let mut socket = TcpStream::connect(("127.0.0.1", rough.port())).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut writer = socket.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        for number in 0..10_000 {
            writer.write_all(format!("ECHO {number:05}\r\n").as_bytes()).unwrap();
        }
    });
    let mut answer = vec![0; 11];
    for number in 0..10_000 {
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(answer, format!("$5\r\n{number:05}\r\n").as_bytes());
    }
    writing.join().unwrap();
    proxy.cut();
    drop(rough);
}
