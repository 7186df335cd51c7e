//! `scangate doctor` against installations of Redis in which one thing at a time is wrong, for real.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::access::Access;
use crate::support::cluster::{self, Cluster};
use crate::support::gateway::file;
use crate::support::nginx::{Edge, Place};
use crate::support::proxy::{Distance, Proxy};
use crate::support::sentinel::{self, NAME, Sentinels};
use crate::support::{Redis, SOON, until};

/// What the doctor reports, and whether it finds something that keeps people from signing in.
struct Report {
    text: String,
    is_bad: bool,
}

fn doctor(url: &str) -> Report {
    doctor_with(url, &[])
}

fn doctor_with(url: &str, arguments: &[&str]) -> Report {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scangate"));
    command.args(["doctor", "--redis-url", url]);
    if !arguments.contains(&"--redis-timeout") {
        command.args(["--redis-timeout", "1s"]);
    }
    command.env("SCANGATE_PUBLIC_URL", "http://localhost:1");
    let output = command.args(arguments).output().unwrap();
    Report { text: String::from_utf8(output.stdout).unwrap(), is_bad: !output.status.success() }
}

impl Report {
    /// Checks that one line begins with `mark` and holds all of `parts`.
    #[track_caller]
    fn says(&self, mark: &str, parts: &[&str]) -> &Self {
        let is_it = |line: &str| line.starts_with(mark) && parts.iter().all(|part| line.contains(part));
        assert!(self.text.lines().any(is_it), "no line is {mark} with {parts:?} in:\n{}", self.text);
        self
    }

    /// Checks that nothing keeps people from signing in.
    #[track_caller]
    fn is_usable(&self) -> &Self {
        assert!(!self.is_bad && !self.text.contains("FAIL"), "{}", self.text);
        self
    }

    #[track_caller]
    fn is_bad(&self) -> &Self {
        assert!(self.is_bad && self.text.contains("FAIL"), "{}", self.text);
        self
    }

    #[track_caller]
    fn says_nothing_of(&self, word: &str) -> &Self {
        assert!(!self.text.contains(word), "{word} is in:\n{}", self.text);
        self
    }
}

fn at(redis: &Redis) -> String {
    format!("127.0.0.1:{}", redis.port())
}

#[test]
fn a_single_server_is_looked_at_in_every_respect() {
    let redis = Redis::with(&["--notify-keyspace-events", "KA"]);
    doctor(&redis.url())
        .is_usable()
        .says("ok    redis", &[&at(&redis), "answers in"])
        .says("ok    redis", &["version"])
        .says("ok    redis", &["notify-keyspace-events AK"])
        .says("ok    redis", &["no maxmemory"])
        .says("ok    redis", &["appendonly no", "create new codes"])
        .says("ok    clock", &["within"])
        .says_nothing_of("WARN  redis");
    redis.run::<()>(&["CONFIG", "SET", "notify-keyspace-events", ""]);
    doctor(&redis.url()).is_usable().says("WARN  redis", &["has now set it", "redis.conf"]);
}

#[test]
fn what_is_not_reached_is_named_with_the_cause() {
    let redis = Redis::with(&["--notify-keyspace-events", "KA"]);
    doctor(&redis.url()).is_usable().says("WARN  public URL", &["http://localhost:1/", "Connection refused"]);
    let provider = [
        ["--identity-jwks-url", "http://localhost:1/keys"],
        ["--identity-issuer", "https://id.example.com"],
        ["--identity-audience", "scangate"],
    ];
    let report = doctor_with(&redis.url(), provider.as_flattened());
    report
        .is_bad()
        .says("FAIL  identity", &["http://localhost:1/keys: Connection refused", "Check --identity-jwks-url"]);
}

#[test]
fn each_app_s_settings_are_printed_and_a_missing_key_is_named_with_its_command() {
    let redis = Redis::with(&["--notify-keyspace-events", "KA"]);
    let (directory, clients) =
        file("[[clients]]\nid = \"notes\"\nredirect_uris = [\"https://notes.example/cb\"]\ntoken_auth = \"none\"\n");
    let clients = clients.to_str().unwrap();
    doctor_with(&redis.url(), &["--config", clients])
        .is_usable()
        .says("ok    openid", &["issuer http://localhost:1", "/.well-known/openid-configuration"])
        .says("ok    openid", &["client notes: no secret, PKCE, RS256", "redirect URI https://notes.example/cb"]);
    let keys = directory.path().join("keys");
    let keys = keys.to_str().unwrap();
    let new = Command::new(env!("CARGO_BIN_EXE_scangate")).args(["keys", "new", "--dir", keys]).output().unwrap();
    assert!(new.status.success());
    let of_people = ["--oidc-issuer", "http://localhost:1/id", "--oidc-client-id", "scangate", "--keys-dir", keys];
    let command = format!("scangate keys new --dir {keys} --algorithm rs256");
    doctor_with(&redis.url(), &[&of_people[..], &["--config", clients]].concat())
        .is_bad()
        .says("FAIL  keys", &["client \"notes\"", &command])
        .says("WARN  openid", &["client notes", "scope email", "--oidc-scopes"]);
    let without_keys = [&of_people[..4], &["--config", clients]].concat();
    doctor_with(&redis.url(), &without_keys).is_bad().says(
        "FAIL  keys",
        &["client \"notes\"", "scangate keys new --dir DIR --algorithm rs256", "SCANGATE_KEYS_DIR"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_whose_certificate_nobody_trusts_is_told_from_one_that_is_gone() {
    let redis = Redis::with(&["--notify-keyspace-events", "KA"]);
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    let report = doctor_with(&redis.url(), &["--public-url", &edge.base]);
    report.is_usable().says("WARN  public URL", &[&edge.base, "certificate"]);
}

#[test]
fn memory_is_measured_against_its_bound() {
    let redis = Redis::with(&["--notify-keyspace-events", "KA", "--maxmemory", "20mb"]);
    doctor(&redis.url()).is_usable().says("ok    redis", &["% of maxmemory (20 MiB)"]);
    redis.run::<()>(&["SETRANGE", "filling", "12000000", "x"]);
    let used = |share: u64| {
        let info: String = redis.run(&["INFO", "memory"]);
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        let bytes = line.trim().parse::<u64>().unwrap() * 100 / share;
        redis.run::<()>(&["CONFIG", "SET", "maxmemory", &bytes.to_string()]);
    };
    used(94);
    doctor(&redis.url()).is_usable().says("WARN  redis", &["% of maxmemory", "store_full"]);
    used(120);
    doctor(&redis.url()).is_bad().says("FAIL  redis", &["% of maxmemory", "store_full", "Raise maxmemory"]);
}

#[test]
fn a_small_buffer_for_subscribers_is_found() {
    let redis = Redis::with(&["--notify-keyspace-events", "KA"]);
    redis.run::<()>(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 512kb 60"]);
    doctor(&redis.url()).is_usable().says("WARN  redis", &["1024 KiB", "pubsub 32mb 8mb 60"]);
}

#[test]
fn a_full_disk_is_found() {
    let redis = Redis::with(&["--notify-keyspace-events", "KA"]);
    redis.run::<()>(&["CONFIG", "SET", "save", "3600 1"]);
    redis.run::<()>(&["SET", "something", "to save"]);
    // A folder in the place of the file cannot be replaced by it.
    let directory: (String, String) = redis.run(&["CONFIG", "GET", "dir"]);
    std::fs::create_dir(std::path::Path::new(&directory.1).join("dump.rdb")).unwrap();
    redis.run::<()>(&["BGSAVE"]);
    until(SOON, "the failure", || {
        redis.run::<String>(&["INFO", "persistence"]).contains("rdb_last_bgsave_status:err").then_some(())
    });
    doctor(&redis.url()).is_bad().says("FAIL  redis", &["refuses changes", "MISCONF", "`dir`"]);
    redis.run::<()>(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    doctor(&redis.url()).is_usable().says("WARN  redis", &["could not write to its disk"]);
}

#[test]
fn what_managed_redis_does_not_tell_is_no_fault() {
    let redis = Redis::with(&["--notify-keyspace-events", "KA"]);
    redis.run::<()>(&["ACL", "SETUSER", "default", "-config", "-info", "-role"]);
    doctor(&redis.url())
        .is_usable()
        .says("WARN  redis", &["does not report its version"])
        .says("WARN  redis", &["does not report its maxmemory-policy"])
        .says("ok    redis", &["does not report client-output-buffer-limit"])
        .says("ok    redis", &["found by a test"]);
    doctor_with(&redis.url(), &["--redis-wait-replicas", "1"]).is_bad().says("FAIL  redis", &["+wait +role"]);
}

#[test]
fn rights_that_the_user_lacks_are_found() {
    let redis = Redis::with(&["--notify-keyspace-events", "KA"]);
    redis.run::<()>(&["ACL", "SETUSER", "default", "resetchannels"]);
    doctor(&redis.url()).is_bad().says("FAIL  redis", &["refuses this user", "docs/configuration.md"]);
    redis.run::<()>(&["ACL", "SETUSER", "default", "allchannels", "-pexpireat"]);
    doctor(&redis.url()).is_bad().says("FAIL  redis", &["refuses changes", "docs/configuration.md"]);
}

#[test]
fn a_login_that_is_missing_or_wrong_is_said_without_the_password() {
    let redis = Redis::start();
    redis.run::<()>(&["CONFIG", "SET", "requirepass", "tell-nobody"]);
    let port = redis.port();
    let url = format!("redis://127.0.0.1:{port}/");
    doctor(&url).is_bad().says("FAIL  redis", &["Correct user and password", "NOAUTH"]);
    let url = format!("redis://:hunter2@127.0.0.1:{port}/");
    doctor(&url).is_bad().says("FAIL  redis", &["Correct user and password"]).says_nothing_of("hunter2");
}

#[test]
fn a_url_of_another_kind_of_server_is_answered_with_the_right_one() {
    let (sentinels, cluster) = (Sentinels::start(), Cluster::start());
    let (single, replica, node, sentinel) =
        (at(sentinels.node(0)), at(sentinels.node(1)), at(cluster.node(0)), at(sentinels.sentinel(0)));
    let bad = |url: String, mark: &str, parts: &[&str]| {
        doctor(&url).is_bad().says(mark, parts);
    };
    bad(format!("redis://{node}"), "FAIL  redis", &["MOVED", &format!("redis-cluster://{node}")]);
    bad(
        format!("redis://{replica}"),
        "FAIL  redis",
        &["READONLY", &format!("replica of {single}"), "redis-sentinel://"],
    );
    bad(format!("redis://{sentinel}"), "FAIL  redis", &["is a Sentinel", &format!("redis-sentinel://{sentinel}/NAME")]);
    bad(
        format!("redis-cluster://{single}"),
        "FAIL  cluster",
        &["not a node of a Cluster", &format!("redis://{single}")],
    );
    bad(format!("redis-cluster://{sentinel}"), "FAIL  cluster", &["not a node of a Cluster"]);
    bad(
        format!("redis-sentinel://{single}/{NAME}"),
        "FAIL  sentinel",
        &["is not a Sentinel", &format!("redis://{single}")],
    );
    bad(format!("redis-sentinel://{sentinel}/other"), "FAIL  sentinel", &["\"other\"", &format!("only {NAME}")]);
}

#[test]
fn sentinels_their_primary_and_its_replicas_are_looked_at() {
    let sentinels = Sentinels::with(sentinel::Options {
        redis: &["--notify-keyspace-events", "Kghxe", "--appendonly", "yes", "--min-replicas-to-write", "1"],
        ..Default::default()
    });
    let (primary, replica) = (at(sentinels.node(0)), at(sentinels.node(1)));
    doctor(&sentinels.url())
        .is_usable()
        .says("ok    sentinel", &["3 of 3 Sentinel(s) say where gate is", &primary])
        .says("ok    sentinel", &["3 Sentinel(s) watch gate", "2 must agree"])
        .says("ok    redis", &[&format!("primary {primary} answers in")])
        .says("ok    redis", &["2 nodes answer as replica"])
        .says("ok    redis", &["2 replicas connected, of which 1 must have a decision"])
        .says("ok    redis", &["appendonly yes"])
        .says("ok    redis", &["min-replicas-to-write 1"])
        .says("ok    redis", &["each replica: connected to its primary"])
        .says_nothing_of("WARN  redis")
        .says_nothing_of("WARN  sentinel");

    sentinels.node(1).run::<()>(&["CONFIG", "SET", "notify-keyspace-events", "Kx"]);
    sentinels.node(0).run::<()>(&["CONFIG", "SET", "appendonly", "no"]);
    sentinels.node(0).run::<()>(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    doctor(&sentinels.url())
        .is_usable()
        .says("WARN  redis", &[&replica, "notify-keyspace-events is \"xK\"", "redis.conf"])
        .says("WARN  redis", &["appendonly no", "comes back empty"])
        .says("WARN  redis", &["Set min-replicas-to-write 1"]);
    // Nothing is changed on a replica.
    let flags: (String, String) = sentinels.node(1).run(&["CONFIG", "GET", "notify-keyspace-events"]);
    assert_eq!(flags.1, "xK");

    doctor_with(&sentinels.url(), &["--redis-wait-replicas", "2"]).says("ok    redis", &["all of which must have"]);
    doctor_with(&sentinels.url(), &["--redis-wait-replicas", "3"])
        .is_usable()
        .says("WARN  redis", &["2 replica(s) connected, fewer than --redis-wait-replicas 3"]);
    doctor_with(&sentinels.url(), &["--redis-wait-replicas", "0"])
        .says("WARN  redis", &["Set --redis-wait-replicas 1"]);
    sentinels.node(0).run::<()>(&["CONFIG", "SET", "min-replicas-to-write", "3"]);
    doctor(&sentinels.url()).is_bad().says("FAIL  redis", &["refuses changes", "NOREPLICAS", "min-replicas-to-write"]);
}

#[test]
fn sentinels_that_are_missing_or_locked_are_named() {
    let mut sentinels =
        Sentinels::with(sentinel::Options { sentinel_password: Some("tell-nobody"), ..Default::default() });
    let url = sentinels.url();
    let locked = url.split('?').next().unwrap();
    doctor(locked).is_bad().says("FAIL  sentinel", &["sentinel_password=", "NOAUTH"]);
    let host = format!("redis-sentinel://{}/{NAME}?sentinel_password=tell-nobody", at(sentinels.sentinel(0)));
    doctor(&host).is_usable().says("WARN  sentinel", &["one of 3", "host,host,host"]).says_nothing_of("tell-nobody");

    sentinels.sentinel_mut(2).kill();
    let gone = at(sentinels.sentinel(2));
    doctor(&url)
        .is_usable()
        .says("WARN  sentinel", &[&gone, "does not answer"])
        .says("ok    sentinel", &["2 of 3 Sentinel(s) say where gate is"]);
    sentinels.sentinel_mut(1).kill();
    until(SOON, "the quorum's end", || {
        sentinels.sentinel(0).try_run::<String>(&["SENTINEL", "CKQUORUM", NAME]).is_err().then_some(())
    });
    doctor(&url).is_usable().says("WARN  sentinel", &["could not start a failover", "NOQUORUM"]);
    sentinels.sentinel(0).run::<()>(&["SENTINEL", "RESET", NAME]);
    doctor(&url).says("WARN  sentinel", &["1 Sentinel(s) watch gate", "Run 3"]);
    sentinels.sentinel_mut(0).kill();
    doctor(&url).is_bad().says("FAIL  sentinel", &["does not answer"]);
}

#[test]
fn a_sentinel_with_old_news_is_named() {
    let mut sentinels = Sentinels::start();
    sentinels.sentinel(2).signal("STOP");
    let old = sentinels.primary();
    let new = sentinels.failover();
    assert_ne!(old, new);
    // It believes what it is told to monitor, and Sentinels tell each other better only by way of that.
    sentinels.node_mut(old).kill();
    let (late, port) = (at(sentinels.sentinel(2)), sentinels.node(old).port().to_string());
    sentinels.sentinel(2).signal("CONT");
    sentinels.sentinel(2).run::<()>(&["SENTINEL", "REMOVE", NAME]);
    sentinels.sentinel(2).run::<()>(&["SENTINEL", "MONITOR", NAME, "127.0.0.1", &port, "2"]);
    let report = doctor(&sentinels.url());
    report.is_usable().says("WARN  sentinel", &[&late, &at(sentinels.node(old)), &at(sentinels.node(new))]);
}

#[test]
fn replicas_that_are_lost_cut_off_or_locked_are_named() {
    let mut sentinels =
        Sentinels::with(sentinel::Options { access: Access::default().password("tell-nobody"), ..Default::default() });
    let replica = at(sentinels.node(1));
    sentinels.node(1).run::<()>(&["CONFIG", "SET", "requirepass", "another"]);
    doctor(&sentinels.url())
        .is_usable()
        .says("WARN  redis", &[&replica, "cannot be used", "the primary's users and passwords"]);
    sentinels.node_mut(1).kill();
    doctor(&sentinels.url())
        .is_usable()
        .says("WARN  redis", &[&replica, "cannot be used", "SENTINEL RESET"])
        .says_nothing_of("tell-nobody");
    let other = at(sentinels.node(2));
    sentinels.node(2).run::<()>(&["CONFIG", "SET", "masterauth", "wrong"]);
    sentinels.node(0).run::<()>(&["CLIENT", "KILL", "TYPE", "REPLICA"]);
    doctor(&sentinels.url())
        .is_usable()
        .says("WARN  redis", &[&other, "not connected to its primary", "masterauth"])
        .says("WARN  redis", &["0 replica(s) connected, fewer than"]);
}

#[test]
fn replicas_that_are_silent_are_told_from_those_that_are_gone() {
    let sentinels = Sentinels::start();
    let silent = |count: usize| {
        let info: String = sentinels.node(0).run(&["INFO", "replication"]);
        let lag = |line: &str| line.rsplit_once("lag=")?.1.trim().parse::<u64>().ok();
        (info.lines().filter_map(lag).filter(|&lag| lag >= 5).count() == count).then_some(())
    };
    sentinels.node(1).signal("STOP");
    until(SOON, "the first one's silence", || silent(1));
    let (url, lagging) = (sentinels.url(), at(sentinels.node(1)));
    doctor(&url).is_usable().says("WARN  redis", &["lagging replicas", &lagging, "has acknowledged nothing for"]);
    sentinels.node(2).signal("STOP");
    until(SOON, "both ones' silence", || silent(2));
    doctor(&url).is_bad().says("FAIL  redis", &["2 of 2 connected replica(s) do not acknowledge", "refused (503)"]);
}

#[test]
fn a_cluster_and_each_of_its_nodes_are_looked_at() {
    let mut cluster = Cluster::with(cluster::Options {
        redis: &["--notify-keyspace-events", "KA", "--appendonly", "yes"],
        ..Default::default()
    });
    doctor(&cluster.url())
        .is_usable()
        .says("ok    cluster", &["3 primaries and 3 replicas agree"])
        .says("ok    redis", &["3 nodes answer as primary"])
        .says("ok    redis", &["each primary: version"])
        .says("ok    redis", &["each primary: 1 replica(s) connected"])
        .says("ok    redis", &["each replica: connected to"])
        .says_nothing_of("WARN  redis")
        .says_nothing_of("WARN  cluster");
    doctor(&format!("redis-cluster://{}", at(cluster.node(4)))).says("WARN  cluster", &["one of 6 nodes"]);

    // Each is looked at, not only the first.
    let (primary, replica) = (at(cluster.node(2)), at(cluster.node(5)));
    cluster.node(2).run::<()>(&["CONFIG", "SET", "notify-keyspace-events", ""]);
    cluster.node(2).run::<()>(&["CONFIG", "SET", "maxmemory", "1mb"]);
    cluster.node(5).run::<()>(&["CONFIG", "SET", "notify-keyspace-events", ""]);
    cluster.kill(3);
    let lost = at(cluster.node(3));
    doctor(&cluster.url())
        .is_bad()
        .says("WARN  redis", &[&primary, "has now set it"])
        .says("FAIL  redis", &[&primary, "store_full"])
        .says("WARN  redis", &[&replica, "notify-keyspace-events is"])
        .says("WARN  redis", &[&lost, "cannot be used", "CLUSTER FORGET"]);
    cluster.node(2).run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);

    cluster.node(0).run::<()>(&["CLUSTER", "DELSLOTSRANGE", "10", "19"]);
    until(SOON, "everybody's hearing of it", || {
        let info: String = cluster.node(0).run(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:fail").then_some(())
    });
    doctor(&cluster.url())
        .is_bad()
        .says("FAIL  cluster", &["cluster_state:fail", &at(cluster.node(0)), "redis-cli --cluster check"])
        .says("WARN  cluster", &["views of the slots differ", &at(cluster.node(0))]);
    for node in 1..=2 {
        cluster.node(node).run::<()>(&["CLUSTER", "DELSLOTSRANGE", "10", "19"]);
    }
    doctor(&cluster.url())
        .is_bad()
        .says("FAIL  cluster", &["no node serves 10 of 16384 slots (10-19)", "--cluster fix"]);

    // Its replica is gone already.
    let lost = at(cluster.node(0));
    cluster.kill(0);
    doctor(&cluster.url())
        .is_bad()
        .says("FAIL  redis", &[&format!("primary {lost} cannot be used"), "cluster-announce-ip"])
        .says_nothing_of(&format!("{lost} does not answer"));
}

#[test]
fn nodes_that_do_not_answer_cost_no_more_time_than_one() {
    let redis = Redis::start();
    let proxies: Vec<_> = (0..5).map(|_| Proxy::before(redis.port())).collect();
    proxies.iter().for_each(Proxy::swallow);
    let hosts: Vec<_> = proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port())).collect();
    for url in [format!("redis-cluster://{}", hosts.join(",")), format!("redis-sentinel://{}/gate", hosts.join(","))] {
        let started = Instant::now();
        doctor(&url).is_bad().says("FAIL", &["does not answer"]);
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    }
    doctor(&format!("redis://{}", hosts[0])).is_bad().says("FAIL  redis", &[&hosts[0], "--redis-url"]);
}

#[test]
fn how_far_away_redis_is_and_what_that_means() {
    let far = |millis: u64| {
        let distance = Distance::steady(Duration::from_millis(millis));
        Redis::far(distance, &["--notify-keyspace-events", "KA"], Access::default())
    };
    let patient = [["--redis-timeout", "5s"]];
    let near = far(0);
    doctor_with(&near.url(), patient.as_flattened())
        .is_usable()
        .says("ok    redis", &["answers in", "fastest", "after the tap"]);
    let (a_rack, a_continent) = (far(10), far(80));
    let report = doctor_with(&a_rack.url(), patient.as_flattened());
    report.is_usable().says("ok    redis", &["answers in", "after the tap"]).says("ok    clock", &[]);
    let fastest = |report: &Report| -> f64 {
        let (_, rest) = report.text.split_once("(fastest ").unwrap();
        rest.split_once(" ms)").unwrap().0.parse().unwrap()
    };
    assert!(fastest(&report) >= 10.0, "{}", report.text);
    let report = doctor_with(&a_continent.url(), patient.as_flattened());
    report.is_usable().says("WARN  redis", &["Redis is far away", "Run gateways near Redis"]);
    assert!(fastest(&report) >= 80.0, "{}", report.text);
    report.says_nothing_of("--redis-timeout");
    // One second is what the other tests give it.
    doctor(&a_continent.url())
        .is_usable()
        .says("WARN  redis", &["--redis-timeout 1s is too short for that", "Set it to"]);
}

#[test]
fn every_node_of_an_installation_far_away_is_looked_at() {
    let distance = Some(Distance::rough(Duration::from_millis(20)));
    let redis = &["--notify-keyspace-events", "KA"];
    let sentinels = Sentinels::with(sentinel::Options { distance, redis, ..sentinel::Options::default() });
    let patient = [["--redis-timeout", "5s"]];
    doctor_with(&sentinels.url(), patient.as_flattened())
        .is_usable()
        .says("ok    redis", &["primary", "answers in", "after the tap"])
        .says("ok    redis", &["2 nodes answer as replica"]);
    let cluster = Cluster::with(cluster::Options { distance, redis, ..cluster::Options::default() });
    doctor_with(&cluster.url(), patient.as_flattened())
        .is_usable()
        .says("ok    redis", &["3 nodes answer as primary", "after the tap"])
        .says("ok    redis", &["3 nodes answer as replica"]);
}
