//! The memory of an idle stream, measured on the example.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use parked_streams::Settings;
use rustix::process::{Resource, getrlimit, setrlimit};

#[path = "../examples/idle_streams.rs"]
#[expect(dead_code, reason = "the tests call `serve` instead of `main`")]
mod example;

/// The variable that makes this test program serve the example in a process of its own: `park` and the address.
const SERVE: &str = "PARKED_STREAMS_TEST_SERVE";
/// The number of streams to hold.
const STREAMS: usize = 10_000;
/// The number of streams to open before the measurement, so that it does not include one-time allocations.
const FIRST_STREAMS: usize = 10;
/// The number of files that either process has open besides its streams.
const OTHER_FILES: u64 = 100;
/// The maximum memory of a parked stream, in bytes, without optimisation and with the system's allocator.
const MAX_BYTES: usize = 1_000;

/// Not a test, but the server's process. Without the variable it does nothing.
#[test]
fn serve_the_example() {
    let Ok(value) = std::env::var(SERVE) else { return };
    let (park, address) = value.split_once(' ').unwrap();
    let settings = Settings { max_connections: STREAMS + 10, park: park == "true", ..Settings::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(example::serve(address, settings)).unwrap();
}

struct Example {
    process: Child,
    socket: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Example {
    fn start(park: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("server.sock");
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "memory::serve_the_example", "--nocapture"])
            .env(SERVE, format!("{park} unix:{}", socket.display()))
            .stdout(Stdio::piped())
            .spawn();
        let mut example = Self { process: process.unwrap(), socket, _directory: directory };
        let mut output = BufReader::new(example.process.stdout.as_mut().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "the server did not start");
        }
        example
    }

    /// Opens a stream and waits for its first event.
    fn open(&self) -> UnixStream {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        until(&mut stream, "data: welcome\n\n");
        stream
    }

    /// Returns the private memory of the process, in bytes.
    fn memory(&self) -> usize {
        // Streams are parked just after their first event.
        std::thread::sleep(Duration::from_secs(1));
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("Pss_Anon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }
}

/// Reads until `text` arrives.
fn until(stream: &mut UnixStream, text: &str) {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut received = Vec::new();
    while !crate::support::contains(&received, text) {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "the stream ended before {text:?}");
        received.extend_from_slice(&buffer[..count]);
    }
}

/// Raises the limit on open files, which children inherit. Returns `wanted`, reduced to the streams that fit into the limit.
fn fit_to_open_files(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let room = limit.maximum.unwrap_or(u64::MAX).saturating_sub(OTHER_FILES);
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[test]
fn ten_thousand_idle_streams_take_a_few_hundred_bytes_each_and_all_receive_an_event() {
    let count = fit_to_open_files(STREAMS);
    let example = Example::start(true);
    let mut streams: Vec<_> = (0..FIRST_STREAMS).map(|_| example.open()).collect();
    let before = example.memory();
    streams.extend((streams.len()..count).map(|_| example.open()));
    let bytes = (example.memory() - before) / (count - FIRST_STREAMS);
    println!("{bytes} bytes for each of {count} parked streams");
    assert!(bytes <= MAX_BYTES, "{bytes} bytes for each of {count} streams");

    let mut sender = UnixStream::connect(&example.socket).unwrap();
    sender.write_all(b"POST /say HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    until(&mut sender, &format!("sent to {count} streams"));
    for stream in &mut streams {
        until(stream, "data: hello\n\n");
    }
}

#[test]
fn hyper_takes_several_times_as_much_memory_for_the_same_streams() {
    let count = fit_to_open_files(1_000);
    let example = Example::start(false);
    let mut streams: Vec<_> = (0..FIRST_STREAMS).map(|_| example.open()).collect();
    let before = example.memory();
    streams.extend((streams.len()..count).map(|_| example.open()));
    let bytes = (example.memory() - before) / (count - FIRST_STREAMS);
    println!("{bytes} bytes for each of {count} streams with hyper");
    assert!(bytes > 3 * MAX_BYTES, "{bytes} bytes for each of {count} streams");
}
