//! A Redis server of a test's own, on a free port, in a folder that goes with it.

use std::process::Command;

use redis::Commands as _;

use super::process::Process;
use super::{SOON, free_port};

/// A running Redis.
pub struct Redis {
    port: u16,
    directory: tempfile::TempDir,
    process: Process,
    options: Vec<String>,
}

impl Redis {
    /// Starts one as Debian would: nothing set, so no notifications.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with further options, such as `["--appendonly", "yes"]`.
    pub fn with(options: &[&str]) -> Self {
        let port = free_port();
        let directory = tempfile::tempdir().unwrap();
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let process = launch(port, directory.path(), &options);
        let redis = Self { port, directory, process, options };
        redis.wait();
        redis
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn connect(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// Runs a command such as `["CONFIG", "SET", …]`.
    pub fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut self.connect()).unwrap()
    }

    /// Returns the names of all keys.
    pub fn keys(&self) -> Vec<String> {
        self.connect().keys("*").unwrap()
    }

    /// Sends a signal by its name, such as `STOP`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Kills it with no chance to save anything.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with what it had saved.
    pub fn restart(&mut self) {
        self.process = launch(self.port, self.directory.path(), &self.options);
        self.wait();
    }

    fn wait(&self) {
        let started = std::time::Instant::now();
        loop {
            let pong = redis::Client::open(self.url())
                .unwrap()
                .get_connection()
                .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
            if pong.is_ok() {
                return;
            }
            assert!(started.elapsed() < SOON, "redis-server did not start: {:?}", self.process.lines());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn launch(port: u16, directory: &std::path::Path, options: &[String]) -> Process {
    let port = port.to_string();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(directory).args(options);
    Process::start(&mut command)
}
