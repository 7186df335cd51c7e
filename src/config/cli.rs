//! The command line: its commands, and reading it together with the environment.

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
/// else. Each flag can also be set by the environment variable shown with it, and each secret from a file. An unknown
/// variable with the same prefix is an error, because it is probably misspelt.
#[derive(Debug, Parser)]
#[command(name = "scangate", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
pub struct Cli {
    /// The command; `serve` by default.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of `serve`.
    #[command(flatten)]
    pub flags: Flags,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the gateway (the default)
    Serve(Box<Flags>),
    /// Check settings, Redis, keys, identity provider and public URL, and report what to do
    Doctor {
        /// Only check that the running gateway's admin listener answers (for container health checks)
        #[arg(long)]
        live: bool,
        /// The gateway's flags.
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// Create signing keys
    Keys {
        /// The command for keys.
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Create client secrets
    Secret {
        /// The command for secrets.
        #[command(subcommand)]
        command: SecretCommand,
    },
    /// Print completions for a shell
    #[command(after_help = INSTALL_COMPLETIONS)]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page, or write all manual pages to a directory
    #[command(after_help = INSTALL_MANUAL)]
    Man {
        /// The directory for scangate.1 and the page of each command
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

const INSTALL_COMPLETIONS: &str = "\
To install them for every new shell:
  bash        scangate completions bash >~/.local/share/bash-completion/completions/scangate
              (needs the package bash-completion)
  zsh         scangate completions zsh >DIR/_scangate, DIR being one of $fpath
  fish        scangate completions fish >~/.config/fish/completions/scangate.fish
  elvish      scangate completions elvish >>~/.config/elvish/rc.elv
  powershell  scangate completions powershell >>$PROFILE

For the current bash only:
              source <(scangate completions bash)";

const INSTALL_MANUAL: &str = "\
To read it:     scangate man | man -l -
To install it:  scangate man --dir ~/.local/share/man/man1";

/// A command for secrets.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Create a random secret of 256 bits for an OpenID client and the app that it stands for
    New {
        /// The file to write it to, which only you can read; it must not exist. Without it, the secret is printed
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// A command for keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Create a signing key as a PEM file; running gateways sign with the newest within seconds
    New {
        /// The directory of the keys
        #[arg(long, env = "SCANGATE_KEYS_DIR", value_name = "DIR")]
        dir: PathBuf,
        /// The algorithm of the key
        #[arg(long, value_enum, default_value_t)]
        algorithm: KeyAlgorithm,
        /// Do nothing if the directory already has a key
        #[arg(long)]
        if_empty: bool,
    },
}

/// The reason why the command line could not be read.
pub struct ReadError {
    /// The faults of the environment, each with its fix.
    pub faults: Vec<String>,
    /// clap's error, which may also be a requested help text.
    pub error: clap::Error,
}

impl Cli {
    /// Reads the command line and the environment.
    ///
    /// # Errors
    /// [`ReadError`] if a value cannot be parsed, and if the command line asks for help or the version.
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
            let secrets = command_line_secrets(&command, &matches);
            let identity_flags = identity_flags(&command, &matches);
            Ok((Self::from_arg_matches(&matches)?, secrets, identity_flags))
        });
        let (mut cli, command_line_secrets, identity_flags) = match read {
            Ok(read) => read,
            Err(error) => return Err(ReadError { faults, error }),
        };
        let flags = match &mut cli.command {
            Some(Command::Serve(flags) | Command::Doctor { flags, .. }) => flags,
            _ => &mut cli.flags,
        };
        flags.provenance = Provenance { environment_faults: faults, command_line_secrets, identity_flags };
        Ok(cli)
    }
}

/// Returns the environment variables of all settings.
pub(super) fn variables_of(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()));
    own.chain(command.get_subcommands().flat_map(variables_of)).collect()
}

/// Returns the flags on the command line whose values may hold a secret. `--help` hides the values of the same flags.
fn command_line_secrets(command: &clap::Command, matches: &ArgMatches) -> Vec<String> {
    let is_secret = |arg: &Arg, source: ValueSource| arg.is_hide_env_values_set() && source == ValueSource::CommandLine;
    select(command, matches, &is_secret)
}

/// Returns the flags of an identity provider that were set.
fn identity_flags(command: &clap::Command, matches: &ArgMatches) -> Vec<String> {
    let is_given = |arg: &Arg, source: ValueSource| {
        arg.get_long().is_some_and(|flag| flag.starts_with("identity-")) && source != ValueSource::DefaultValue
    };
    select(command, matches, &is_given)
}

/// Returns the flags of the command and its subcommand that `is_wanted` selects.
fn select(command: &clap::Command, matches: &ArgMatches, is_wanted: &dyn Fn(&Arg, ValueSource) -> bool) -> Vec<String> {
    let is_selected =
        |arg: &&Arg| matches.value_source(arg.get_id().as_str()).is_some_and(|source| is_wanted(arg, source));
    let own = command.get_arguments().filter(is_selected).filter_map(|arg| Some(arg.get_long()?.to_owned()));
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
    fn a_secret_on_the_command_line_is_found_for_every_command() {
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
