//! What is installed: completions and manual, the systemd unit, the image and the Compose file. That the image can be
//! built, and the unit be run by systemd, is shown by `tests/image` and `tests/unit`, which take root and minutes.

mod containers;
mod dependencies;
mod instructions;
mod shells;
mod unit;

use std::collections::BTreeSet;
use std::process::{Command, Output};

/// Runs the gateway's program and returns what it printed.
fn scangate(arguments: &[&str]) -> String {
    succeeded(Command::new(env!("CARGO_BIN_EXE_scangate")).args(arguments))
}

/// Runs a command that must succeed and have nothing to complain of, and returns what it printed.
fn succeeded(command: &mut Command) -> String {
    let output = run(command);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{command:?}: {} {complaints}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs what is missing"))
}

/// The variables of all settings that there are.
fn settings() -> BTreeSet<String> {
    variables(&scangate(&["--help"]))
}

/// The settings that a text names, in comments too.
fn variables(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("SCANGATE_")).map(str::to_owned).collect()
}

/// Returns the default of a setting, as `--help` shows it.
fn default_of(variable: &str) -> String {
    let help = scangate(&["--help"]);
    let (_, rest) = help.split_once(&format!("[env: {variable}=")).unwrap();
    let (_, rest) = rest.split_once("[default: ").unwrap();
    rest.split_once(']').unwrap().0.to_owned()
}
