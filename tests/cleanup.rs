//! What tests start ends with the test process, even if that is killed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::process::Process;
use crate::support::{SOON, until};

/// Tells [`helper_that_is_killed`] that it was started by the test.
const VARIABLE: &str = "SCANGATE_TEST_CLEANUP";

#[test]
#[ignore = "a helper, which the next test starts and kills"]
fn helper_that_is_killed() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    let process = Process::start(Command::new("sh").args(["-c", "sleep 1001 & echo child $!; wait"]));
    let line = until(SOON, "the child", || process.lines().into_iter().find(|line| line.starts_with("child ")));
    println!("{line}");
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn processes_and_their_children_end_with_a_killed_test_process() {
    let mut helper = Command::new(std::env::current_exe().unwrap())
        .args(["cleanup::helper_that_is_killed", "--exact", "--ignored", "--nocapture"])
        .env(VARIABLE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(helper.stdout.take().unwrap()).lines().map_while(Result::ok);
    let child = lines.filter_map(|line| line.split_once("child ").map(|(_, pid)| pid.to_owned())).next().unwrap();
    let child = format!("/proc/{child}");
    assert!(Path::new(&child).exists());
    helper.kill().unwrap();
    helper.wait().unwrap();
    until(SOON, "the end of the child", || (!Path::new(&child).exists()).then_some(()));
}

#[test]
fn children_end_with_a_process_that_is_killed() {
    let mut process =
        Process::start(Command::new("sh").args(["-c", "sh -c 'sleep 1002 & echo child $!; wait' & wait"]));
    let line = until(SOON, "the child", || process.lines().into_iter().find(|line| line.starts_with("child ")));
    let child = format!("/proc/{}", line.split_once(' ').unwrap().1);
    assert!(Path::new(&child).exists());
    process.kill();
    until(SOON, "the end of the child", || (!Path::new(&child).exists()).then_some(()));
}
