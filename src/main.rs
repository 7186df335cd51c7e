//! The program: reads the command line, runs one command, and returns its exit code.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use scangate::app::{self, Stop};
use scangate::config::cli::{Cli, Command, KeysCommand, ReadError, SecretCommand};
use scangate::config::flags::{Flags, LogFormat};
use scangate::config::{Config, LogSettings};
use scangate::doctor::{self, Severity};
use scangate::secret::Secret;
use scangate::signer::keys::{self, SigningKeys};
use tracing_subscriber::EnvFilter;

/// Chosen by measurement: docs/decisions/0009-what-an-idle-stream-costs.md.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(ReadError { faults, error }) => {
            // `--help` and `--version` print their text even if the environment has faults.
            if error.use_stderr() {
                for fault in &faults {
                    print_error(&format!("- {fault}"));
                }
            }
            error.exit()
        }
    };
    app::install_crypto();
    let result = match cli.command {
        None => serve(&cli.flags),
        Some(Command::Serve(flags)) => serve(&flags),
        Some(Command::Doctor { live, flags }) => run_doctor(live, &flags),
        Some(Command::Keys { command }) => create_keys(&command),
        Some(Command::Secret { command }) => create_secret(&command),
        Some(Command::Completions { shell }) => print_completions(shell),
        Some(Command::Man { dir }) => write_manual(dir.as_deref()),
    };
    result.unwrap_or_else(|error| {
        print_error(&format!("scangate: {error:#}"));
        ExitCode::FAILURE
    })
}

fn serve(flags: &Flags) -> anyhow::Result<ExitCode> {
    let config = match Config::from_flags(flags) {
        Ok(config) => config,
        Err(faults) => {
            print_error(&format!("scangate cannot start with these settings:\n{faults}\nSee `scangate --help`."));
            return Ok(ExitCode::from(2));
        }
    };
    start_logging(&config.log)?;
    let runtime = runtime()?;
    let result = runtime.block_on(app::serve(config, async {
        app::stop_signal().await.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot receive signals; stopping");
            Stop::Terminate
        })
    }));
    // Do not wait for threads that still read a file or resolve a name.
    runtime.shutdown_background();
    result?;
    Ok(ExitCode::SUCCESS)
}

fn run_doctor(live: bool, flags: &Flags) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    if live {
        runtime.block_on(doctor::probe_live(flags.admin_listen))?;
        return Ok(ExitCode::SUCCESS);
    }
    let findings = runtime.block_on(doctor::check(flags));
    for finding in &findings {
        print(&finding.to_string());
    }
    let is_bad = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn create_keys(command: &KeysCommand) -> anyhow::Result<ExitCode> {
    let KeysCommand::New { dir, algorithm, if_empty } = command;
    if *if_empty && SigningKeys::read(dir).is_ok() {
        print(&format!("{} already has a key", dir.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let path = keys::create(dir, *algorithm)?;
    print(&format!("{}", path.display()));
    Ok(ExitCode::SUCCESS)
}

fn create_secret(command: &SecretCommand) -> anyhow::Result<ExitCode> {
    let SecretCommand::New { file } = command;
    let secret = Secret::generate();
    let Some(path) = file else {
        print(secret.reveal());
        return Ok(ExitCode::SUCCESS);
    };
    secret.write_new(path).with_context(|| format!("cannot write {}", path.display()))?;
    print(&format!("{}", path.display()));
    Ok(ExitCode::SUCCESS)
}

fn print_completions(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), env!("CARGO_BIN_NAME"), &mut script);
    write_stdout(&script)
}

fn write_manual(dir: Option<&Path>) -> anyhow::Result<ExitCode> {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(manual()).render(&mut page)?;
        return write_stdout(&page);
    };
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(manual(), dir))
        .with_context(|| format!("cannot write the manual to {}", dir.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the command line for the manual. Each synopsis says `[OPTIONS]`, because some forty flags would hide the commands.
fn manual() -> clap::Command {
    Cli::command()
        // A page for `help` would add nothing to `--help`.
        .disable_help_subcommand(true)
        .override_usage("scangate [OPTIONS]\nscangate COMMAND")
        .mut_subcommand("serve", |serve| serve.override_usage("scangate serve [OPTIONS]"))
        .mut_subcommand("doctor", |doctor| doctor.override_usage("scangate doctor [--live] [OPTIONS]"))
}

/// Writes to standard output. It is not an error if the reader, such as `head`, closes the pipe early.
fn write_stdout(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn start_logging(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.filter)?;
    let is_text = match settings.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if is_text {
        lines.compact().init();
    } else {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
    }
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

#[expect(clippy::print_stdout, reason = "the output of a command")]
fn print(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "logging may not have started")]
fn print_error(line: &str) {
    eprintln!("{line}");
}
