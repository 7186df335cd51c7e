//! `scangate completions` in the shells themselves, and `scangate man` as `man` reads it.

use std::process::Command;

use super::{scangate, settings, succeeded, variables};

/// What bash offers for the last of `words`.
fn offered_by_bash(words: &[&str]) -> Vec<String> {
    // As readline does it: the words, which of them is to be completed, and then the function.
    let script = format!(
        "source <({} completions bash); COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1)); \
         _scangate \"$1\" \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        env!("CARGO_BIN_EXE_scangate")
    );
    let mut bash = Command::new("bash");
    succeeded(bash.args(["--norc", "-c", &script, "bash"]).args(words)).lines().map(str::to_owned).collect()
}

/// What fish offers for the end of a line.
fn offered_by_fish(line: &str) -> Vec<String> {
    let script =
        format!("{} completions fish | source; complete --do-complete '{line}'", env!("CARGO_BIN_EXE_scangate"));
    let home = tempfile::tempdir().unwrap();
    let mut fish = Command::new("fish");
    fish.args(["--no-config", "-c", &script]).env("HOME", home.path());
    succeeded(&mut fish).lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    assert_eq!(offered_by_bash(&["scangate", "--redis-p"]), ["--redis-prefix", "--redis-pool-size"]);
    assert_eq!(offered_by_bash(&["scangate", "doctor", "--li"]), ["--live", "--listen"]);
    assert_eq!(offered_by_bash(&["scangate", "keys", "new", "--algorithm", ""]), ["es256", "eddsa", "rs256"]);
    assert_eq!(offered_by_bash(&["scangate", "completions", "z"]), ["zsh"]);
}

#[test]
fn fish_completes_commands_flags_and_values() {
    assert_eq!(offered_by_fish("scangate --redis-po"), ["--redis-pool-size"]);
    assert_eq!(offered_by_fish("scangate keys new --algorithm e"), ["eddsa", "es256"]);
    assert!(offered_by_fish("scangate comp").contains(&"completions".to_owned()));
}

#[test]
fn zsh_finds_the_completions_in_its_path() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("_scangate"), scangate(&["completions", "zsh"])).unwrap();
    let script = "fpath=($1 $fpath); autoload -Uz compinit; compinit -u -d $1/dump; autoload +X _scangate; \
                  print $_comps[scangate]; functions _scangate";
    let text = succeeded(Command::new("zsh").args(["-f", "-c", script, "zsh"]).arg(directory.path()));
    assert!(text.starts_with("_scangate\n") && text.contains("--redis-pool-size"), "{text}");
}

#[test]
fn the_manual_has_a_page_for_each_command_and_names_every_setting() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    scangate(&["man", "--dir", pages.to_str().unwrap()]);
    let mut names: Vec<_> =
        std::fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let commands = ["completions", "doctor", "keys-new", "keys", "man", "secret-new", "secret", "serve"];
    let expected = commands.map(|command| format!("scangate-{command}.1"));
    assert_eq!(names, [&expected[..], &["scangate.1".to_owned()]].concat());
    for name in &names {
        // Warnings and errors are on standard error, which has to stay empty.
        let mut man = Command::new("man");
        man.args(["--warnings", "--encoding=UTF-8", "--local-file"]).arg(pages.join(name)).env("MANWIDTH", "200");
        let page = succeeded(&mut man);
        assert!(page.contains("NAME") && page.contains("SYNOPSIS"), "{page}");
        if ["scangate.1", "scangate-serve.1", "scangate-doctor.1"].contains(&name.as_str()) {
            assert_eq!(variables(&page), settings(), "{name}");
        }
    }
    let page = std::fs::read_to_string(pages.join("scangate.1")).unwrap();
    assert!(scangate(&["man"]) == page, "it prints another page than it writes");
}
