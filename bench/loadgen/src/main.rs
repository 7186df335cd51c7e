//! The load generator: puts load on an installation by its public HTTP, and says what its people would see.
//!
//! It uses nothing of the gateway's insides, and speaks to Redis only where `expiry` is told of one. The parent reads the options, starts worker processes (a process may only open so
//! many files) and adds up what they report; each worker simulates its share of the people on one thread.
//!
//! | part | owns |
//! |---|---|
//! | `options` | the command line, and the settings of a run |
//! | `target`, `connect` | where the load goes; connections to there and nowhere else |
//! | `api`, `sse`, `stream` | requests, the event stream format, one event stream |
//! | `person`, `poll`, `logins`, `pacer` | what people do, and how often |
//! | `primaries`, `others`, `plain` | the Redis that `expiry` is told of, the keys of others in it, plain keys to compare with |
//! | `context`, `measured` | what the people of a process share; what is counted and timed |
//! | `worker`, `messages`, `workers` | the worker process, what is said to it, the parent's side of it |
//! | `conduct`, `progress`, `report` | the phases of a run, what is shown meanwhile, the result |

mod api;
mod baseline;
mod connect;
mod context;
mod coordinator;
mod filler_keys;
mod logins;
mod measurements;
mod messages;
mod options;
mod pacer;
mod poller;
mod presenter;
mod primaries;
mod progress;
mod report;
mod sse;
mod stream;
mod target;
mod worker;
mod workers;

use std::process::ExitCode;

use clap::Parser as _;

/// The exit code for options that are wrong, and for targets that cannot be reached.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    // Fails only if there is one already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if std::env::args().nth(1).as_deref() == Some(workers::WORKER) {
        return worker::main();
    }
    let options = options::Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(coordinator::run(&options)),
        Err(error) => Err(coordinator::Fault { code: UNUSABLE, error: error.into() }),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            report::complain(&format!("scangate-loadgen: {:#}", fault.error));
            ExitCode::from(fault.code)
        }
    }
}

/// Spawns a task. A panic in one ends nothing else; it shows as a stream too few.
fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) {
    drop(tokio::spawn(future));
}
