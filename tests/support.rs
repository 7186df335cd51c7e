//! What tests start and stop: gateways, Redis servers, people, event streams. Every process ends with its handle.

pub mod access;
pub mod browser;
pub mod cluster;
pub mod engine;
pub mod events;
pub mod gateway;
pub mod guest;
pub mod hostile;
pub mod netns;
pub mod nginx;
pub mod openid;
pub mod picture;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod redis;
pub mod sentinel;
pub mod site;
pub mod wechat;
pub mod wire;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

pub use access::Access;
pub use cluster::Cluster;
pub use events::EventStream;
pub use gateway::Gateway;
pub use guest::Guest;
pub use nginx::Edge;
pub use proxy::Proxy;
pub use redis::Redis;
pub use sentinel::Sentinels;
pub use site::Site;
pub use wire::Wire;

/// How long anything may take that should happen at once; generous, because machines are busy.
pub const SOON: Duration = Duration::from_secs(10);

/// Tries `look` again until it finds something, for as long as [`SOON`].
pub async fn eventually<T, F>(what: &str, look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    within(SOON, what, look).await
}

/// Tries `look` again until it finds something, for as long as `time`.
pub async fn within<T, F>(time: Duration, what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < time, "{what} did not happen within {time:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Does the same where nothing else has to run meanwhile: it blocks its thread.
pub fn until<T>(time: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < time, "{what} did not happen within {time:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns a port that was free a moment ago, and that no other call is given, in other processes of tests neither.
///
/// Below those that the system hands out: no connection can take it in the meantime, or find itself at its other end. It is
/// kept as long as this process lives: Sentinels that wait for a killed Redis would make their replica of any other that
/// is started in its place.
pub fn free_port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    static KEPT: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let user = rustix::process::getuid().as_raw();
    let directory = std::env::temp_dir().join(format!("scangate-test-ports-{user}"));
    std::fs::create_dir_all(&directory).unwrap();
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + u16::try_from((std::process::id() * 97 + count) % 20_000).unwrap();
        let claim = File::create(directory.join(port.to_string())).unwrap();
        if claim.try_lock().is_ok() && std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            KEPT.lock().unwrap().push(claim);
            return port;
        }
    }
}

/// Raises this process's limit on open files as far as it may.
pub fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Installs the cryptographic library, as the binary does at its start.
pub fn crypto() {
    scangate::app::install_crypto();
}

/// Returns the load generator's binary, which the first call builds.
///
/// Cargo tells an integration test where the binaries of its own package are, and the load generator is another one. The
/// build names the same packages and kinds of targets as `cargo test --workspace`, so that features are resolved as there
/// and no dependency is compiled twice. After that command it has nothing left to do.
pub fn loadgen() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let directory = Path::new(env!("CARGO_BIN_EXE_scangate")).parent().unwrap();
        let profile = match directory.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            profile => profile,
        };
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--workspace", "--bin", "scangate-loadgen", "--test", "tests"]);
        if cfg!(feature = "jemalloc") {
            cargo.args(["--features", "jemalloc"]);
        }
        cargo.args(["--profile", profile, "--target-dir"]).arg(directory.parent().unwrap());
        let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
        assert!(status.success(), "the load generator could not be built");
        directory.join("scangate-loadgen")
    })
}

/// The words that have a program run with its clock off by that many seconds. Its monotonic clock goes right.
pub fn clock_off_by(seconds: i64) -> Vec<String> {
    let library = std::fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok).find_map(|entry| {
        let path = entry.path().join("faketime/libfaketimeMT.so.1");
        path.exists().then_some(path)
    });
    let library = library.expect("libfaketime is missing; apt-get install faketime, or run tests/run, which does");
    let settings = [
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME={seconds:+}s"),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    settings.to_vec()
}
