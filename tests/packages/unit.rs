//! `packaging/scangate.service`: what systemd says of it, whether it fits the settings, and what the gateway tells systemd.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use super::{default_of, settings, succeeded, variables};
use crate::support::process::Process;
use crate::support::{SOON, free_port, until};

const UNIT: &str = include_str!("../../packaging/scangate.service");
const ENVIRONMENT: &str = include_str!("../../packaging/scangate.env");
/// Where the unit expects the program.
const INSTALLED: &str = "/usr/local/bin/scangate";

/// The values of a directive.
fn values(directive: &str) -> Vec<&'static str> {
    UNIT.lines().filter_map(|line| line.strip_prefix(directive)?.strip_prefix('=')).collect()
}

fn seconds(text: &str) -> Duration {
    humantime::parse_duration(text).unwrap()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit_and_little_exposed() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("scangate.service");
    std::fs::write(&unit, UNIT.replace(INSTALLED, env!("CARGO_BIN_EXE_scangate"))).unwrap();
    let analyze = || Command::new("systemd-analyze");
    // Without the manual, which is not installed here.
    succeeded(analyze().args(["verify", "--man=no"]).arg(&unit));
    // 0.0 to 10.0, in tenths; docs/install.md names it.
    succeeded(analyze().args(["security", "--offline=true", "--no-pager", "--threshold=11"]).arg(&unit));
}

#[test]
fn the_unit_and_its_environment_name_settings_that_there_are() {
    let known = settings();
    let named = variables(&format!("{UNIT}{ENVIRONMENT}"));
    assert_eq!(named.difference(&known).collect::<Vec<_>>(), [""; 0]);
    // Each credential that the environment reads is one that the unit loads.
    let mut read = 0;
    for part in ENVIRONMENT.split("/run/credentials/scangate.service/").skip(1) {
        let credential = part.lines().next().unwrap();
        assert!(values("LoadCredential").contains(&credential), "{credential} is not loaded");
        read += 1;
    }
    assert!(read > 1);
    assert!(seconds(values("TimeoutStopSec")[0]) > seconds(&default_of("SCANGATE_SHUTDOWN_TIMEOUT")));
    let connections: u64 = default_of("SCANGATE_MAX_CONNECTIONS").parse().unwrap();
    assert!(values("LimitNOFILE")[0].parse::<u64>().unwrap() >= connections + 256);
}

#[test]
fn the_environment_is_one_to_start_with() {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_scangate"));
    doctor.arg("doctor").env_clear();
    for line in ENVIRONMENT.lines().filter(|line| line.starts_with("SCANGATE_")) {
        let (name, value) = line.split_once('=').unwrap();
        doctor.env(name, value);
    }
    // Its provider is an example, which is not to be asked: the rest is what is looked at.
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "a-secret\n").unwrap();
    doctor.env("SCANGATE_OIDC_ISSUER", "http://127.0.0.1:1").env("SCANGATE_PUBLIC_URL", "http://127.0.0.1:1");
    doctor.env("SCANGATE_OIDC_CLIENT_SECRET_FILE", secret.path());
    let report = String::from_utf8(super::run(&mut doctor).stdout).unwrap();
    assert!(report.contains("ok    settings") && !report.contains("FAIL  settings"), "{report}");
}

#[test]
fn systemd_is_told_when_it_serves_that_it_lives_and_when_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let told = || {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).expect("systemd was told nothing");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };

    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_scangate"));
    command.args(["serve", "--listen", &address, "--admin-listen", "127.0.0.1:0", "--drain", "0s"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut process = Process::start(&mut command);
    assert_eq!(told(), "READY=1\nSTATUS=serving http://localhost:8080/\n");
    // When it says so, it is so.
    std::net::TcpStream::connect(&address).unwrap();
    for _ in 0..3 {
        assert_eq!(told(), "WATCHDOG=1\n");
    }
    process.signal("TERM");
    let last = until(SOON, "the end", || Some(told()).filter(|told| told != "WATCHDOG=1\n"));
    assert!(last.starts_with("STOPPING=1\n"), "{last}");
    assert_eq!(until(SOON, "the exit", || process.exit_code()), 0);
}
