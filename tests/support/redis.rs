//! A Redis server of a test's own, on a free port, in a folder that goes with it.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use redis::Commands as _;

use super::access::Access;
use super::process::Process;
use super::proxy::{Distance, Proxy};
use super::{SOON, free_port, until};

/// A running Redis.
pub struct Redis {
    port: u16,
    access: Access,
    directory: tempfile::TempDir,
    process: Process,
    options: Vec<String>,
    is_up: AtomicBool,
    /// What gateways, and other servers, reach it through.
    proxy: Option<Proxy>,
}

/// What a Redis is started from when it is not alone.
pub(super) struct Setup {
    pub port: u16,
    pub access: Access,
    /// Lines of its configuration, after those that every Redis has.
    pub configuration: String,
    /// The name and the text of another file of its folder.
    pub file: Option<(&'static str, String)>,
    /// Options of its command line, which are stronger than its configuration.
    pub options: Vec<String>,
    pub proxy: Option<Proxy>,
}

impl Redis {
    /// Starts one as Debian would: nothing set, so no notifications.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with further options, such as `["--appendonly", "yes"]`.
    pub fn with(options: &[&str]) -> Self {
        Self::of(free_port(), options, Access::default(), None)
    }

    /// Starts one that gateways find far away; the test itself finds it near.
    pub fn far(distance: Distance, options: &[&str], access: Access) -> Self {
        let port = free_port();
        Self::of(port, options, access, Some(Proxy::at(distance, port)))
    }

    fn of(port: u16, options: &[&str], access: Access, proxy: Option<Proxy>) -> Self {
        let redis = Self::launch(Setup {
            port,
            access,
            configuration: String::new(),
            file: None,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            proxy,
        });
        redis.wait();
        redis
    }

    /// Starts one, without waiting for it.
    pub(super) fn launch(setup: Setup) -> Self {
        let Setup { port, access, configuration, file, options, proxy } = setup;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        if let Some((name, text)) = file {
            std::fs::write(path.join(name), text).unwrap();
        }
        let own = format!("bind 127.0.0.1\nsave \"\"\ndir {}\n{}", path.display(), access.configuration(port));
        std::fs::write(path.join("redis.conf"), own + &configuration).unwrap();
        let process = process(path, &options);
        Self { port, access, directory, process, options, is_up: AtomicBool::new(true), proxy }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the port at which gateways, and other servers, reach it.
    pub fn public_port(&self) -> u16 {
        self.proxy.as_ref().map_or(self.port, Proxy::port)
    }

    /// The URL by which a gateway reaches it.
    pub fn url(&self) -> String {
        self.access.url(self.public_port())
    }

    pub fn access(&self) -> &Access {
        &self.access
    }

    pub fn connect(&self) -> redis::Connection {
        self.access.client(self.port).get_connection().unwrap()
    }

    /// Runs a command such as `["CONFIG", "SET", …]`.
    pub fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        command(words).query(&mut self.connect()).unwrap()
    }

    /// Runs a command that may fail, at a server that may not answer.
    pub fn try_run<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let time = Duration::from_secs(2);
        let mut connection = self.access.client(self.port).get_connection_with_timeout(time)?;
        connection.set_read_timeout(Some(time))?;
        command(words).query(&mut connection)
    }

    /// Returns the names of all keys.
    pub fn keys(&self) -> Vec<String> {
        self.connect().keys("*").unwrap()
    }

    /// Tells whether it answers and calls itself a primary.
    pub fn is_primary(&self) -> bool {
        self.try_run::<String>(&["INFO", "replication"]).is_ok_and(|info| info.contains("role:master"))
    }

    /// Returns how many replicas it has that are in step.
    pub fn replicas_online(&self) -> usize {
        let online =
            self.try_run::<String>(&["INFO", "replication"]).map_or(0, |info| info.matches("state=online").count());
        if online == 0 {
            return 0;
        }
        // One that has just been sent everything is called online, and is sent nothing more until it has answered, for up
        // to a second.
        let Ok(mut connection) = self.access.client(self.port).get_connection() else { return 0 };
        let mut ask = redis::pipe();
        ask.cmd("PUBLISH").arg("in step?").arg("").ignore().cmd("WAIT").arg(online).arg(2000);
        ask.query(&mut connection).map_or(0, |(reached,): (usize,)| reached)
    }

    /// Tells whether it runs: neither killed nor stopped.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Relaxed)
    }

    /// Sends a signal by its name, such as `STOP`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
        self.is_up.store(name == "CONT", Relaxed);
    }

    /// Kills it with no chance to save anything.
    pub fn kill(&mut self) {
        self.process.kill();
        self.is_up.store(false, Relaxed);
    }

    /// Starts it again with what it had saved.
    pub fn restart(&mut self) {
        self.process = process(self.directory.path(), &self.options);
        self.is_up.store(true, Relaxed);
        self.wait();
    }

    /// Waits until it answers.
    pub(super) fn wait(&self) {
        until(SOON, &format!("the start of redis-server at {}", self.port), || {
            let lines = self.process.lines();
            // A replica whose primary is about to start hears nothing from the proxy before that, and tries again.
            let is_failure = |line: &String| line.contains("Failed") && !line.contains("Failed to read response");
            let is_lost = lines.iter().any(|line| line.contains("FATAL") || is_failure(line));
            assert!(!is_lost, "redis-server: {}", lines.join("\n"));
            self.try_run::<String>(&["PING"]).ok()
        });
    }
}

fn process(directory: &std::path::Path, options: &[String]) -> Process {
    Process::start(Command::new("redis-server").arg(directory.join("redis.conf")).args(options))
}

/// Makes a command of its words.
pub(super) fn command(words: &[&str]) -> redis::Cmd {
    let mut command = redis::Cmd::new();
    command.arg(words);
    command
}
