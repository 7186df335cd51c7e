//! A run from start to end: checks the options, starts the workers, and goes through the phases of the scenario.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use futures_util::FutureExt as _;
use rustix::process::{Pid, Resource, getrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, sleep_until, timeout};

use crate::EXIT_UNUSABLE;
use crate::api::{Api, Approver};
use crate::baseline::Baseline;
use crate::connect::Dialer;
use crate::credentials::{app, sign_in_approvers};
use crate::filler_keys::{self, FillerKeys};
use crate::messages::{Order, Plan, Role};
use crate::openid::App;
use crate::options::Command;
use crate::primaries::{Primaries, RedisUrl};
use crate::progress::{Phase, Progress};
use crate::report::{self, Ending, Run};
use crate::settings::{Scenario, Settings, Signal};
use crate::target::Target;
use crate::workers::Workers;

/// The exit code of a run that lost something or was incomplete.
const EXIT_LOST: u8 = 1;
/// The exit code after Ctrl-C or SIGTERM: 128 plus the number of SIGINT.
const EXIT_INTERRUPTED: u8 = 130;
/// The number of files that a process opens besides its streams: kept connections, logins, standard streams.
const OTHER_FILES: u64 = 1_500;
/// How long to wait for the last confirmations of a storm.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long removing the keys in Redis may take.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(60);

/// The error of a run that has no result.
pub struct Failure {
    /// The exit code.
    pub code: u8,
    pub error: anyhow::Error,
}

/// Executes a run, and returns its exit code.
///
/// # Errors
/// If the run has no result.
pub async fn run(command: &Command) -> Result<u8, Failure> {
    let prepared = prepare(command).await.map_err(|error| Failure { code: EXIT_UNUSABLE, error })?;
    let run = execute(command, prepared).await.map_err(|error| Failure { code: EXIT_LOST, error })?;
    report::publish(&run, command.common().json.as_deref()).map_err(|error| Failure { code: EXIT_LOST, error })?;
    Ok(match run.ending {
        Ending::Interrupted => EXIT_INTERRUPTED,
        Ending::Complete if run.failures().is_empty() => 0,
        Ending::Complete | Ending::OutOfTime => EXIT_LOST,
    })
}

struct Prepared {
    settings: Settings,
    targets: Vec<Target>,
    approvers: Vec<Approver>,
    app: Option<App>,
    keys: Option<RedisKeys>,
}

/// The keys that `expiry` writes to Redis.
struct RedisKeys {
    filler: FillerKeys,
    baseline: Baseline,
}

impl RedisKeys {
    /// Connects without writing anything.
    async fn connect(url: &RedisUrl, other_keys: u64) -> anyhow::Result<Self> {
        let primaries = Arc::new(Primaries::connect(url).await?);
        // Other runs may use the same Redis at the same time.
        let prefix = format!("loadgen:{:08x}:", rand::random::<u32>());
        primaries.require_notifications(&prefix).await?;
        let baseline = Baseline::start(Arc::clone(&primaries), &prefix).await?;
        Ok(Self { filler: FillerKeys::new(primaries, &prefix, other_keys), baseline })
    }

    /// Removes all keys. Any that it cannot remove expire.
    async fn remove(&mut self) {
        let removed = timeout(REMOVE_TIMEOUT, async {
            self.baseline.remove().await?;
            self.filler.remove().await?;
            anyhow::Ok(())
        });
        let error = match removed.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "timed out".to_owned(),
        };
        report::print_error(&format!(
            "scangate-loadgen: not all keys could be removed from Redis ({error}); they expire in {}",
            humantime::format_duration(filler_keys::TIME_TO_LIVE)
        ));
    }
}

/// Checks everything that can be checked before the first stream.
async fn prepare(command: &Command) -> anyhow::Result<Prepared> {
    let mut targets = command.common().target.clone();
    for target in &mut targets {
        target.resolve().await?;
    }
    let settings = command.settings(&targets).map_err(anyhow::Error::msg)?;
    check_file_limit(&settings)?;
    if let Scenario::Storm { pids, .. } = &settings.scenario {
        for &pid in pids {
            rustix::process::test_kill_process(process(pid)?)
                .with_context(|| format!("process {pid} cannot be signalled"))?;
        }
    }
    let dialer =
        Dialer::new(settings.source_addresses.clone(), settings.http, settings.ca.as_deref(), settings.insecure)?;
    let mut reached = Err(anyhow!("no target is set"));
    for target in &targets {
        match dialer.dial(target).await {
            Ok(_) => reached = Ok(()),
            Err(error) if reached.is_err() => reached = Err(anyhow!("{} cannot be reached: {error}", target.text)),
            Err(_) => {}
        }
    }
    reached?;
    let api = Api::new(Arc::new(dialer), targets.clone().into(), settings.client_id.clone());
    let app = app(&settings, command.client_secret_file())?;
    let mut approvers = Vec::new();
    if settings.scenario.events_path().is_none() {
        api.create().await.context("the first ticket could not be created")?;
        if settings.scenario.has_approvers() {
            approvers = sign_in_approvers(&api, command.approver_token_file()).await?;
        }
    }
    let keys = match (command.redis_url(), settings.scenario.comparison()) {
        (Some(url), Some(comparison)) => Some(RedisKeys::connect(url, comparison.other_keys).await?),
        _ => None,
    };
    Ok(Prepared { settings, targets, approvers, app, keys })
}

fn check_file_limit(settings: &Settings) -> anyhow::Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let share = u64::try_from(settings.streams.div_ceil(settings.processes)).unwrap_or(u64::MAX);
    if share + OTHER_FILES > hard {
        bail!(
            "{share} streams per process are too many, because a process may open {hard} files; use more --processes, \
             or raise the hard limit (ulimit -Hn)"
        );
    }
    Ok(())
}

/// Divides the work among the workers.
fn plans(prepared: &Prepared, started: Duration) -> Vec<Plan> {
    let settings = &prepared.settings;
    let count = settings.processes;
    let share = |all: usize, index: usize| all / count + usize::from(index < all % count);
    let part = |all: f64| all / u32::try_from(count).map_or(1.0, f64::from);
    let plan = |role| Plan {
        settings: settings.clone(),
        targets: prepared.targets.clone(),
        approvers: prepared.approvers.clone(),
        app: prepared.app.clone(),
        role,
        started,
    };
    let background = if let Scenario::Expiry { background, .. } = settings.scenario { background } else { 0 };
    let confirmations =
        if let Scenario::Storm { logins_per_second, .. } = settings.scenario { logins_per_second } else { 0.0 };
    let mut plans = Vec::new();
    let mut first = 0;
    for index in 0..count {
        let presenters = share(settings.streams, index);
        if presenters > 0 {
            plans.push(plan(Role::Presenters {
                count: presenters,
                first,
                background: share(background, index),
                rate: part(settings.rate.into()),
                confirmations_per_second: part(confirmations),
            }));
        }
        first += presenters;
    }
    if let Scenario::Login { logins, logins_per_second, concurrency_logins, .. } = settings.scenario {
        plans.push(plan(Role::Logins {
            count: logins,
            per_second: logins_per_second,
            concurrency: concurrency_logins,
        }));
    }
    plans
}

async fn execute(command: &Command, mut prepared: Prepared) -> anyhow::Result<Run> {
    let started_at = SystemTime::now();
    let started = Instant::now();
    let since_1970 = started_at.duration_since(SystemTime::UNIX_EPOCH).context("the clock is before 1970")?;
    let keys = prepared.keys.take();
    let first = if keys.is_some() { Phase::Filling } else { Phase::Opening };
    let mut coordinator = Coordinator {
        workers: Workers::new(),
        keys,
        progress: Progress::new(command.common().status, first, prepared.settings.streams, started),
        started,
        ends_at: started + prepared.settings.max_time,
        signalled_at: None,
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
    };
    let stopped = coordinator.run_phases(&prepared, since_1970).await;
    let open = coordinator.workers.open();
    coordinator.progress.enter(Phase::Closing, open);
    let baseline = coordinator.keys.as_ref().map(|keys| keys.baseline.results());
    if let Some(keys) = &mut coordinator.keys {
        keys.remove().await;
    }
    let ending = match stopped {
        Ok(()) => Ending::Complete,
        Err(Stopped::Early(ending)) => ending,
        Err(Stopped::Failed(error)) => return Err(error),
    };
    let measurements = coordinator.workers.stop().await?;
    let seconds = started.elapsed();
    coordinator.progress.enter(Phase::Done, 0);
    let signalled_at = coordinator.signalled_at.map(|at| at.duration_since(started));
    let Prepared { settings, targets, .. } = prepared;
    let targets = targets.into_iter().map(|target| target.text).collect();
    Ok(Run { settings, targets, started_at, seconds, ending, signalled_at, measurements, baseline })
}

/// The state of a run.
struct Coordinator {
    workers: Workers,
    keys: Option<RedisKeys>,
    progress: Progress,
    started: Instant,
    ends_at: Instant,
    /// When `storm` sent its signal.
    signalled_at: Option<Instant>,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Coordinator {
    /// Goes through the phases of the scenario.
    async fn run_phases(&mut self, prepared: &Prepared, since_1970: Duration) -> Result<(), Stopped> {
        self.write_filler_keys().await?;
        self.workers.start(plans(prepared, since_1970)).await?;
        self.enter(Phase::Opening);
        self.wait(None, Workers::all_opened).await?;
        match &prepared.settings.scenario {
            Scenario::Idle { hold, .. } => {
                self.enter(Phase::Holding);
                self.wait(Some(*hold), |_| false).await?;
            }
            Scenario::Poll { hold, .. } => {
                self.enter(Phase::Running);
                self.wait(Some(*hold), |_| false).await?;
            }
            Scenario::Login { .. } | Scenario::Expiry { .. } => {
                self.enter(Phase::Running);
                self.workers.send(&Order::Run).await?;
                self.wait(None, Workers::all_finished).await?;
                if let Some(RedisKeys { baseline, .. }) = &self.keys {
                    let is_complete = baseline.is_complete();
                    self.wait(Some(baseline.time_left()), |_| is_complete()).await?;
                }
            }
            Scenario::Storm { pids, signal, after, hold, .. } => {
                self.enter(Phase::Running);
                self.workers.send(&Order::Run).await?;
                self.wait(Some(*after), |_| false).await?;
                if !pids.is_empty() {
                    self.signalled_at = Some(Instant::now());
                    send_signal(*signal, pids)?;
                }
                self.wait(Some(*hold), |_| false).await?;
                self.workers.send(&Order::Settle).await?;
                self.wait(Some(SETTLE_TIMEOUT), Workers::all_finished).await?;
            }
        }
        Ok(())
    }

    /// Writes the filler keys, if the run has any.
    async fn write_filler_keys(&mut self) -> Result<(), Stopped> {
        let Some(RedisKeys { filler, .. }) = &mut self.keys else { return Ok(()) };
        let mut ticks = interval(Duration::from_secs(1));
        while !filler.is_complete() {
            tokio::select! {
                added = filler.add() => added.context("the filler keys could not be written to Redis")?,
                _ = self.interrupt.recv() => return Err(Stopped::Early(Ending::Interrupted)),
                _ = self.terminate.recv() => return Err(Stopped::Early(Ending::Interrupted)),
                () = sleep_until(self.ends_at.into()) => return Err(Stopped::Early(Ending::OutOfTime)),
            }
            if ticks.tick().now_or_never().is_some() {
                self.progress.show_keys(filler.written(), filler.wanted());
            }
        }
        Ok(())
    }

    /// Writes a plain key for each deadline that the workers have reported.
    async fn write_plain_keys(&mut self) -> anyhow::Result<()> {
        let deadlines: Vec<_> = self.workers.take_deadlines().into_iter().map(|at| self.started + at).collect();
        let Some(RedisKeys { baseline, .. }) = &mut self.keys else { return Ok(()) };
        baseline.add(&deadlines).await.context("the plain keys could not be written to Redis")
    }

    fn enter(&mut self, phase: Phase) {
        self.progress.enter(phase, self.workers.open());
    }

    /// Waits until `is_done` returns true, for at most `time`.
    async fn wait(&mut self, time: Option<Duration>, is_done: impl Fn(&Workers) -> bool) -> Result<(), Stopped> {
        let ends_at = time.map(|time| Instant::now() + time);
        let deadline = ends_at.unwrap_or(self.ends_at).min(self.ends_at);
        let mut ticks = interval(Duration::from_secs(1));
        ticks.reset();
        while !is_done(&self.workers) {
            tokio::select! {
                received = self.workers.receive() => {
                    received?;
                    self.write_plain_keys().await?;
                }
                _ = ticks.tick() => self.progress.show(self.workers.open()),
                _ = self.interrupt.recv() => return Err(Stopped::Early(Ending::Interrupted)),
                _ = self.terminate.recv() => return Err(Stopped::Early(Ending::Interrupted)),
                () = sleep_until(deadline.into()) => {
                    let is_in_time = ends_at.is_some_and(|at| at <= self.ends_at);
                    return if is_in_time { Ok(()) } else { Err(Stopped::Early(Ending::OutOfTime)) };
                }
            }
        }
        Ok(())
    }
}

/// The reason why the phases stopped before their end.
enum Stopped {
    /// The run still has a result.
    Early(Ending),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Stopped {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

fn send_signal(signal: Signal, pids: &[i32]) -> anyhow::Result<()> {
    let signal = match signal {
        Signal::Kill => rustix::process::Signal::KILL,
        Signal::Term => rustix::process::Signal::TERM,
    };
    for &pid in pids {
        rustix::process::kill_process(process(pid)?, signal)
            .with_context(|| format!("process {pid} cannot be signalled"))?;
    }
    Ok(())
}

fn process(pid: i32) -> anyhow::Result<Pid> {
    Pid::from_raw(pid).with_context(|| format!("{pid} is not a process id"))
}
