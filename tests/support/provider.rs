//! Identity providers that others have written, as real programs on loopback: the certified `oidc-provider` and Debian's
//! `glewlwyd`. `tests/providers` has the programs that set them up, and `tests/run` installs both.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::Process;
use super::{clock_off_by, free_port};

/// The secret of the clients that have one.
pub const CLIENT_SECRET: &str = "scangate-test-secret";
/// How long a provider may take to start on a machine that runs other tests: it generates an RSA key.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    OidcProvider,
    Glewlwyd,
}

/// A running provider. It has two people, alice and bob.
pub struct Provider {
    pub program: Program,
    /// Its issuer, exactly as its documents have it.
    pub issuer: String,
    /// Where its switches are.
    control: String,
    process: Process,
    args: Vec<String>,
    /// What it keeps: in memory, because SQLite waits for the disk at every write.
    _directory: tempfile::TempDir,
}

impl Provider {
    /// Starts one for gateways with these public URLs, with further arguments of its program.
    pub async fn start(program: Program, gateways: &[&str], further: &[&str]) -> Self {
        let memory = Path::new("/dev/shm");
        let directory = tempfile::tempdir_in(if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() });
        let directory = directory.unwrap();
        let mut args = vec!["--port".to_owned(), free_port().to_string()];
        let (keeps, kept) = match program {
            Program::OidcProvider => ("--state", directory.path().join("state.json")),
            Program::Glewlwyd => ("--keep", directory.path().to_owned()),
        };
        args.extend([keeps.to_owned(), kept.to_str().unwrap().to_owned()]);
        for gateway in gateways {
            args.extend(["--redirect-uri".to_owned(), format!("{gateway}/sign-in/callback")]);
            args.extend(["--post-logout-uri".to_owned(), format!("{gateway}/")]);
        }
        args.extend(further.iter().map(|&arg| arg.to_owned()));
        let process = Process::start(&mut command_of(program, &args));
        let ready = ready(&process).await;
        let issuer = ready["issuer"].as_str().unwrap().to_owned();
        let control = match program {
            Program::OidcProvider => format!("{issuer}/test"),
            Program::Glewlwyd => ready["control"].as_str().unwrap().to_owned(),
        };
        Self { program, issuer, control, process, args, _directory: directory }
    }

    /// Starts it again with its clock off by that many seconds.
    pub async fn start_again_off_by(&mut self, seconds: i64) {
        let words = clock_off_by(seconds);
        let mut command = Command::new(&words[0]);
        let program = command_of(self.program, &self.args);
        command.args(&words[1..]).arg(program.get_program()).args(program.get_args());
        self.process = Process::start(&mut command);
        ready(&self.process).await;
    }

    /// Ends it; [`start_again`](Self::start_again) brings it back. Asks first, because it writes down what it knows.
    pub async fn stop(&mut self) {
        self.process.signal("TERM");
        let asked = Instant::now();
        while self.process.exit_code().is_none() {
            assert!(asked.elapsed() < PATIENCE, "a provider did not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts it again at the same address, with the same keys, sessions and consents.
    pub async fn start_again(&mut self) {
        assert_eq!(self.program, Program::OidcProvider, "the other one begins with an empty database");
        self.process = Process::start(&mut command_of(self.program, &self.args));
        ready(&self.process).await;
    }

    /// Has it sign with new keys. With `drops_old`, it stops publishing those before.
    pub async fn rotate(&self, drops_old: bool) {
        self.switch(if drops_old { "rotate?drop=1" } else { "rotate" }).await;
    }

    /// Has a path of `oidc-provider` answer with this status; 0 ends that.
    pub async fn fail(&self, path: &str, status: u16) {
        self.switch(&format!("fail?path={path}&status={status}")).await;
    }

    /// Returns what `oidc-provider` was asked for: time, method, path, and the parameters that are no secrets.
    pub async fn requests(&self) -> Vec<Value> {
        reqwest::get(format!("{}/requests", self.control)).await.unwrap().json().await.unwrap()
    }

    /// Returns how many people it was asked for. A gateway asks for its documents at times of its own.
    pub async fn visits(&self) -> usize {
        self.requests().await.iter().filter(|request| request["path"] == "/auth").count()
    }

    async fn switch(&self, what: &str) {
        let response = reqwest::Client::new().post(format!("{}/{what}", self.control)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{what}: {}", self.log());
    }

    /// Returns what it has written.
    pub fn log(&self) -> String {
        self.process.lines().join("\n")
    }
}

fn command_of(program: Program, args: &[String]) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/providers");
    let script = match program {
        Program::OidcProvider => "oidc-provider/server.mjs",
        Program::Glewlwyd => "glewlwyd/server.mjs",
    };
    let mut command = Command::new(node());
    command.arg(folder.join(script)).args(args);
    command
}

/// Returns a Node that is new enough: `oidc-provider`, and libraries of apps, need a newer one than Debian 12 has. `tests/run`
/// installs one then.
pub fn node() -> PathBuf {
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("node").join("bin/node");
    if own.exists() { own } else { PathBuf::from("node") }
}

/// Waits for the line that says where it is.
async fn ready(process: &Process) -> Value {
    let started = Instant::now();
    loop {
        let lines = process.lines();
        let mut read = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(line) = read.find(|line| line["ready"] == true) {
            return line;
        }
        assert!(started.elapsed() < PATIENCE, "a provider did not start:\n{}", lines.join("\n"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
