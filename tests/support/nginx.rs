//! The edge: the project's own `nginx/run` in front of gateways, with the certificate that it made for itself.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::{Certificate, ClientBuilder};

use super::gateway::{Browser, Builder, Gateway, Phone};
use super::process::Process;
use super::{SOON, crypto, free_port};

/// Where an edge will be; chosen first, because a gateway has to be told its public URL at its start.
#[derive(Clone, Copy)]
pub struct Place {
    name: &'static str,
    port: u16,
}

impl Place {
    /// Chooses a free port of this machine.
    pub fn choose() -> Self {
        Self::named("localhost")
    }

    /// The same under another name, which only the clients of the edge need to know.
    pub fn named(name: &'static str) -> Self {
        Self { name, port: free_port() }
    }

    pub fn port(self) -> u16 {
        self.port
    }

    /// The public URL, without a slash at its end.
    pub fn url(self) -> String {
        format!("https://{}:{}", self.name, self.port)
    }

    /// Returns what a gateway behind this place is started with.
    pub fn gateway(self) -> Builder {
        Gateway::builder().arg("--public-url", &self.url())
    }
}

/// A running nginx.
pub struct Edge {
    process: Process,
    directory: tempfile::TempDir,
    place: Place,
    /// The port that only sends on to https.
    pub http_port: u16,
    /// Where browsers come in, such as `https://localhost:40001`.
    pub base: String,
}

impl Edge {
    /// Starts one in front of `upstreams`, each `HOST:PORT` or `unix:PATH`.
    pub fn start(place: Place, upstreams: &[&str]) -> Self {
        Self::start_from(&Path::new(env!("CARGO_MANIFEST_DIR")).join("nginx"), place, upstreams)
    }

    /// Starts one from another copy of the folder `nginx`.
    pub fn start_from(sources: &Path, place: Place, upstreams: &[&str]) -> Self {
        crypto();
        let directory = tempfile::tempdir().unwrap();
        let http_port = free_port();
        let mut command = Command::new(sources.join("run"));
        command.args(["--https-port", &place.port.to_string(), "--http-port", &http_port.to_string()]);
        command.args(["--name", place.name, "--dir"]).arg(directory.path());
        for upstream in upstreams {
            command.args(["--upstream", upstream]);
        }
        let edge = Self { process: Process::start(&mut command), directory, place, http_port, base: place.url() };
        edge.wait();
        edge
    }

    /// Starts one in front of one gateway on TCP.
    pub fn before(gateway: &Gateway, place: Place) -> Self {
        Self::start(place, &[upstream(gateway)])
    }

    /// The certificate that it has made for itself.
    pub fn certificate(&self) -> Certificate {
        Certificate::from_pem(&self.certificate_pem()).unwrap()
    }

    pub fn certificate_pem(&self) -> Vec<u8> {
        std::fs::read(self.certificate_file()).unwrap()
    }

    /// Where that certificate is.
    pub fn certificate_file(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    pub fn port(&self) -> u16 {
        self.place.port
    }

    /// An HTTP client with cookies that trusts this edge and nobody else, and finds it whatever it is called.
    pub fn http(&self) -> ClientBuilder {
        let address = ([127, 0, 0, 1], self.place.port).into();
        reqwest::Client::builder()
            .cookie_store(true)
            .resolve(self.place.name, address)
            .tls_certs_only([self.certificate()])
            .redirect(reqwest::redirect::Policy::none())
    }

    pub fn browser(&self) -> Browser {
        Browser::through(self.http().build().unwrap(), &self.base)
    }

    pub fn phone(&self, token: String) -> Phone {
        Phone::through(self.http().build().unwrap(), &self.base, token)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Returns its access log as it stands on the disk.
    pub fn access_log_bytes(&self) -> Vec<u8> {
        std::fs::read(self.directory.path().join("access.log")).unwrap_or_default()
    }

    /// Returns the lines of its access log.
    pub fn access_log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Returns all that it has written: its warnings and errors.
    pub fn log(&self) -> String {
        self.process.lines().join("\n")
    }

    fn wait(&self) {
        let started = Instant::now();
        // Checking its configuration, nginx listens for a moment too; the script announces itself after that.
        while !self.log().contains(" -> ") || TcpStream::connect(("127.0.0.1", self.place.port)).is_err() {
            assert!(started.elapsed() < SOON, "nginx did not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it. Asks first: an nginx that is killed leaves its workers behind.
    pub fn stop(&mut self) {
        if self.process.exit_code().is_some() {
            return;
        }
        self.process.signal("TERM");
        let asked = Instant::now();
        while self.process.exit_code().is_none() && asked.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns how nginx reaches a gateway on TCP.
pub fn upstream(gateway: &Gateway) -> &str {
    gateway.base.trim_start_matches("http://")
}
