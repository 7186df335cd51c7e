//! The command line: its commands, and how it is read together with the environment.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

use super::environment;
use super::flags::{Flags, Provenance};
use crate::signer::keys::KeyAlgorithm;

/// Sign in by QR code: a waiting browser gets a JWT when a signed-in phone scans and confirms.
///
/// Without a command, `scangate` serves. Without any flag it serves a demo on http://localhost:8080 that needs nothing
/// else. Every flag can also be set as the environment variable that stands beside it; a secret also from a file.
/// Other variables with the same prefix are taken for a mistake, and keep it from starting.
#[derive(Debug, Parser)]
#[command(name = "scangate", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
pub struct Cli {
    /// What to do; `serve` if not said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of `serve`.
    #[command(flatten)]
    pub flags: Flags,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the gateway (also the default)
    Serve(Box<Flags>),
    /// Check settings, Redis, keys, identity provider and public URL, and say what to do about each
    Doctor {
        /// Only ask the running gateway's admin listener whether it is alive (for container health checks)
        #[arg(long)]
        live: bool,
        /// The flags that the gateway runs with.
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// Make signing keys
    Keys {
        /// What to do with keys.
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Print a shell's completions of this command line
    #[command(after_help = INSTALL_COMPLETIONS)]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page, or write all of them into a directory
    #[command(after_help = INSTALL_MANUAL)]
    Man {
        /// Where to write them: scangate.1, and one for each command
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

const INSTALL_COMPLETIONS: &str = "\
To have them in every new shell:
  bash        scangate completions bash >~/.local/share/bash-completion/completions/scangate
              (takes the package bash-completion)
  zsh         scangate completions zsh >DIR/_scangate, DIR being one of $fpath
  fish        scangate completions fish >~/.config/fish/completions/scangate.fish
  elvish      scangate completions elvish >>~/.config/elvish/rc.elv
  powershell  scangate completions powershell >>$PROFILE

In this shell alone, if it is bash:
              source <(scangate completions bash)";

const INSTALL_MANUAL: &str = "\
To read it:     scangate man | man -l -
To install it:  scangate man --dir ~/.local/share/man/man1";

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a signing key as a PEM file; running gateways sign with the newest within seconds
    New {
        /// Where the keys are
        #[arg(long, env = "SCANGATE_KEYS_DIR", value_name = "DIR")]
        dir: PathBuf,
        /// What it is for
        #[arg(long, value_enum, default_value_t)]
        algorithm: KeyAlgorithm,
        /// Do nothing if there is a key already
        #[arg(long)]
        if_empty: bool,
    },
}

/// Why the command line could not be read.
pub struct ReadError {
    /// What is wrong with the environment.
    pub faults: Vec<String>,
    /// What clap says: a fault, or the help that was asked for.
    pub error: clap::Error,
}

impl Cli {
    /// Reads the command line and the environment.
    ///
    /// # Errors
    /// [`ReadError`] if a value cannot be read, and where help or the version was asked for.
    pub fn read() -> Result<Self, ReadError> {
        Self::read_from(std::env::args_os(), &std::env::vars_os().collect::<Vec<_>>())
    }

    fn read_from(
        arguments: impl Iterator<Item = OsString>,
        variables: &[(OsString, OsString)],
    ) -> Result<Self, ReadError> {
        let command = Self::command();
        let faults = environment::faults(&variables_of(&command), variables);
        let read = command.clone().try_get_matches_from(arguments).and_then(|matches| {
            let (open_secrets, identity) = (open_secrets(&command, &matches), of_identity(&command, &matches));
            Ok((Self::from_arg_matches(&matches)?, open_secrets, identity))
        });
        let (mut cli, open_secrets, identity) = match read {
            Ok(read) => read,
            Err(error) => return Err(ReadError { faults, error }),
        };
        let flags = match &mut cli.command {
            Some(Command::Serve(flags) | Command::Doctor { flags, .. }) => flags,
            _ => &mut cli.flags,
        };
        flags.provenance =
            Provenance { environment_faults: faults, command_line_secrets: open_secrets, identity_flags: identity };
        Ok(cli)
    }
}

/// Returns the variables of all settings.
pub(super) fn variables_of(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()));
    own.chain(command.get_subcommands().flat_map(variables_of)).collect()
}

/// Returns the flags on the command line whose values `--help` does not show, because they may hold a secret.
fn open_secrets(command: &clap::Command, matches: &ArgMatches) -> Vec<String> {
    let is_open = |arg: &Arg, source: ValueSource| arg.is_hide_env_values_set() && source == ValueSource::CommandLine;
    select(command, matches, &is_open)
}

/// Returns the flags that speak of an identity provider and were given.
fn of_identity(command: &clap::Command, matches: &ArgMatches) -> Vec<String> {
    let is_given = |arg: &Arg, source: ValueSource| {
        arg.get_long().is_some_and(|flag| flag.starts_with("identity-")) && source != ValueSource::DefaultValue
    };
    select(command, matches, &is_given)
}

/// Returns the flags that are wanted, of the command and of its subcommand.
fn select(command: &clap::Command, matches: &ArgMatches, is_wanted: &dyn Fn(&Arg, ValueSource) -> bool) -> Vec<String> {
    let is_there =
        |arg: &&Arg| matches.value_source(arg.get_id().as_str()).is_some_and(|source| is_wanted(arg, source));
    let own = command.get_arguments().filter(is_there).filter_map(|arg| Some(arg.get_long()?.to_owned()));
    let mut selected: Vec<String> = own.collect();
    if let Some((name, matches)) = matches.subcommand()
        && let Some(command) = command.find_subcommand(name)
    {
        selected.extend(select(command, matches, is_wanted));
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_on_the_command_line_is_seen_wherever_the_flag_stands() {
        let open = |words: &[&str]| {
            let words = std::iter::once("scangate").chain(words.iter().copied()).map(OsString::from);
            let Ok(cli) = Cli::read_from(words, &[]) else { panic!("unread") };
            match cli.command {
                Some(Command::Serve(flags) | Command::Doctor { flags, .. }) => flags.provenance.command_line_secrets,
                _ => cli.flags.provenance.command_line_secrets,
            }
        };
        assert_eq!(open(&["--identity-secret", "x"]), ["identity-secret"]);
        assert_eq!(open(&["serve", "--redis-url=redis://:x@h"]), ["redis-url"]);
        assert_eq!(open(&["doctor", "--identity-secret", "x"]), ["identity-secret"]);
        assert_eq!(open(&["--identity-secret-file", "x", "--keys-dir", "y"]), [""; 0]);
    }
}
