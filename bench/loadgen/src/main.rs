//! The load generator: puts load on an installation over its public HTTP API, and measures what its users experience.
//!
//! It uses none of the gateway's code, and connects to Redis only for `expiry --redis-url`. The coordinator parses the
//! command line, starts worker processes and adds up their measurements. It starts several, because a process can open only
//! a limited number of files. Each worker simulates its share of the presenters on one thread.
//!
//! | module | owns |
//! |---|---|
//! | `options`, `settings` | the command line; the settings that a run has in every process |
//! | `target`, `connect`, `tls` | the addresses of the targets; connections to them; TLS settings |
//! | `api`, `sse`, `stream` | requests; the event stream format; one event stream |
//! | `presenter`, `poller`, `logins`, `openid`, `pacer` | the actions of presenters, approvers and apps, and their rate |
//! | `primaries`, `filler_keys`, `baseline` | the Redis of `expiry --redis-url`; filler keys; keys for comparison |
//! | `context`, `measurements` | the shared state of one worker's tasks; counts and latencies |
//! | `worker`, `messages`, `workers` | the worker process; the messages to and from it; the coordinator's side of it |
//! | `credentials` | the tokens of approvers, and the secret of an app |
//! | `coordinator`, `progress`, `report` | the phases of a run; the progress on standard error; the result |

mod api;
mod baseline;
mod connect;
mod context;
mod coordinator;
mod credentials;
mod filler_keys;
mod logins;
mod measurements;
mod messages;
mod openid;
mod options;
mod pacer;
mod poller;
mod presenter;
mod primaries;
mod progress;
mod report;
mod settings;
mod sse;
mod stream;
mod target;
mod tls;
mod worker;
mod workers;

use std::process::ExitCode;

use clap::Parser as _;

/// The exit code for wrong options and unreachable targets.
const EXIT_UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    // Fails only if a provider is installed already. Any provider would do.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if std::env::args().nth(1).as_deref() == Some(workers::WORKER) {
        return worker::main();
    }
    let command = options::Options::parse().command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(coordinator::run(&command)),
        Err(error) => Err(coordinator::Failure { code: EXIT_UNUSABLE, error: error.into() }),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            report::print_error(&format!("scangate-loadgen: {:#}", failure.error));
            ExitCode::from(failure.code)
        }
    }
}

/// Spawns a task. A panic in it ends no other task; the result shows it as a missing stream.
fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) {
    drop(tokio::spawn(future));
}
