//! Flags in, exit code out.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use scangate::app::{self, Stop};
use scangate::config::cli::{Cli, Command, KeysCommand, ReadError};
use scangate::config::flags::{Flags, LogFormat};
use scangate::config::{Config, LogSettings};
use scangate::doctor::{self, Verdict};
use scangate::signer::keys::{self, KeySet};
use tracing_subscriber::EnvFilter;

/// Chosen by measurement: docs/decisions/0009-what-an-idle-stream-costs.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(ReadError { faults, error }) => {
            // Help that was asked for is given whatever the environment holds.
            if error.use_stderr() {
                for fault in &faults {
                    complain(&format!("- {fault}"));
                }
            }
            error.exit()
        }
    };
    app::install_crypto();
    let result = match cli.command {
        None => serve(&cli.flags),
        Some(Command::Serve(flags)) => serve(&flags),
        Some(Command::Doctor { live, flags }) => examine(live, &flags),
        Some(Command::Keys { command }) => make_keys(&command),
        Some(Command::Completions { shell }) => complete(shell),
        Some(Command::Man { dir }) => describe(dir.as_deref()),
    };
    result.unwrap_or_else(|error| {
        complain(&format!("scangate: {error:#}"));
        ExitCode::FAILURE
    })
}

fn serve(flags: &Flags) -> anyhow::Result<ExitCode> {
    let config = match Config::from_flags(flags) {
        Ok(config) => config,
        Err(faults) => {
            complain(&format!("scangate cannot start with these settings:\n{faults}\nSee `scangate --help`."));
            return Ok(ExitCode::from(2));
        }
    };
    start_logging(&config.log)?;
    let runtime = runtime()?;
    let result = runtime.block_on(app::serve(config, async {
        app::stop_signal().await.unwrap_or_else(|error| {
            tracing::error!(%error, "signals cannot be received");
            Stop::Signal
        })
    }));
    // What still reads a file or looks up a name is not waited for.
    runtime.shutdown_background();
    result?;
    Ok(ExitCode::SUCCESS)
}

fn examine(live: bool, flags: &Flags) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    if live {
        runtime.block_on(doctor::probe_live(flags.admin_listen))?;
        return Ok(ExitCode::SUCCESS);
    }
    let findings = runtime.block_on(doctor::examine(flags));
    for finding in &findings {
        say(&finding.to_string());
    }
    let is_bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn make_keys(command: &KeysCommand) -> anyhow::Result<ExitCode> {
    let KeysCommand::New { dir, algorithm, if_empty } = command;
    if *if_empty && KeySet::read(dir).is_ok() {
        say(&format!("{} has a key already", dir.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let path = keys::create(dir, *algorithm)?;
    say(&format!("{}", path.display()));
    Ok(ExitCode::SUCCESS)
}

fn complete(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), env!("CARGO_BIN_NAME"), &mut script);
    write_out(&script)
}

fn describe(dir: Option<&Path>) -> anyhow::Result<ExitCode> {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(manual()).render(&mut page)?;
        return write_out(&page);
    };
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(manual(), dir))
        .with_context(|| format!("cannot write the manual into {}", dir.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The command line as its manual shows it: some forty flags in each synopsis would hide what else is there.
fn manual() -> clap::Command {
    Cli::command()
        // Its page would be of no more use than `--help`, and is not written.
        .disable_help_subcommand(true)
        .override_usage("scangate [OPTIONS]\nscangate COMMAND")
        .mut_subcommand("serve", |serve| serve.override_usage("scangate serve [OPTIONS]"))
        .mut_subcommand("doctor", |doctor| doctor.override_usage("scangate doctor [--live] [OPTIONS]"))
}

/// Writes to standard output, where whoever reads may have read enough.
fn write_out(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
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

#[expect(clippy::print_stdout, reason = "the answer to a command")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "logging may not have begun")]
fn complain(line: &str) {
    eprintln!("{line}");
}
