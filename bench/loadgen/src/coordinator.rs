//! A run from its beginning to its end: checks what it was told, starts the workers, takes them through the phases.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use futures_util::FutureExt as _;
use rustix::process::{Pid, Resource, getrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, sleep_until, timeout};

use crate::api::{Api, ApiError, Approver};
use crate::baseline::Baseline;
use crate::connect::Dialer;
use crate::filler_keys::FillerKeys;
use crate::messages::{Order, Plan};
use crate::options::{Options, Scenario, Settings, Signal};
use crate::primaries::{Primaries, RedisUrl};
use crate::progress::{Phase, Progress};
use crate::report::{self, Ending, Run};
use crate::target::Target;
use crate::workers::Workers;
use crate::{UNUSABLE, filler_keys};

/// The exit code where something was lost.
const LOST: u8 = 1;
/// The exit code after Ctrl-C or SIGTERM: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;
/// How many made-up people sign in to scan.
const APPROVERS: usize = 8;
/// Files that a process needs besides its streams: kept connections, logins under way, standard streams.
const FILES_BESIDES: u64 = 1_500;
/// How long after the end the last confirmations of a storm are waited for.
const SETTLE_TIME: Duration = Duration::from_secs(30);
/// How long removing what was written to Redis may take.
const REMOVE_TIME: Duration = Duration::from_secs(60);
/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Why there is no result.
pub struct Fault {
    /// The exit code.
    pub code: u8,
    pub error: anyhow::Error,
}

/// Runs; returns the exit code.
///
/// # Errors
/// When there is no result.
pub async fn run(options: &Options) -> Result<u8, Fault> {
    let prepared = prepare(options).await.map_err(|error| Fault { code: UNUSABLE, error })?;
    let run = conduct(options, prepared).await.map_err(|error| Fault { code: LOST, error })?;
    report::publish(&run, options.json.as_deref()).map_err(|error| Fault { code: LOST, error })?;
    Ok(match run.ending {
        Ending::Interrupted => INTERRUPTED,
        Ending::Complete if run.losses().is_empty() => 0,
        Ending::Complete | Ending::OutOfTime => LOST,
    })
}

struct Prepared {
    settings: Settings,
    targets: Vec<Target>,
    approvers: Vec<Approver>,
    beside: Option<Beside>,
}

/// What `expiry` writes to the Redis that it was told of.
struct Beside {
    others: FillerKeys,
    plain: Baseline,
}

impl Beside {
    /// Connects; writes nothing yet.
    async fn new(url: &RedisUrl, other_keys: u64) -> anyhow::Result<Self> {
        let primaries = Arc::new(Primaries::connect(url).await?);
        // Other runs may be at the same Redis.
        let prefix = format!("loadgen:{:08x}:", rand::random::<u32>());
        primaries.require_notifications(&prefix).await?;
        let plain = Baseline::start(Arc::clone(&primaries), &prefix).await?;
        Ok(Self { others: FillerKeys::new(primaries, &prefix, other_keys), plain })
    }

    /// Removes everything. What cannot be removed expires.
    async fn remove(&mut self) {
        let removed = timeout(REMOVE_TIME, async {
            self.plain.remove().await?;
            self.others.remove().await?;
            anyhow::Ok(())
        });
        let error = match removed.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it takes too long".to_owned(),
        };
        report::complain(&format!(
            "scangate-loadgen: not all keys of others could be removed from Redis ({error}); they expire in {}",
            humantime::format_duration(filler_keys::TIME_TO_LIVE)
        ));
    }
}

/// Checks all that can be checked before anything is opened.
async fn prepare(options: &Options) -> anyhow::Result<Prepared> {
    let mut targets = options.target.clone();
    for target in &mut targets {
        target.resolve().await?;
    }
    let settings = options.settings(&targets).map_err(anyhow::Error::msg)?;
    check_files(&settings)?;
    for &pid in &settings.pids {
        rustix::process::test_kill_process(process(pid)?)
            .with_context(|| format!("process {pid} cannot be signalled"))?;
    }
    let dialer =
        Dialer::new(settings.source_addresses.clone(), settings.http, settings.ca.as_deref(), settings.insecure)?;
    let mut reached = Err(anyhow!("there is no target"));
    for target in &targets {
        match dialer.dial(target).await {
            Ok(_) => reached = Ok(()),
            Err(error) if reached.is_err() => reached = Err(anyhow!("{} cannot be reached: {error}", target.text)),
            Err(_) => {}
        }
    }
    reached?;
    let api = Api::new(Arc::new(dialer), targets.clone().into(), settings.client_id.clone());
    let mut approvers = Vec::new();
    if settings.events_path.is_none() {
        api.create().await.context("no ticket could be made to begin with")?;
        if matches!(settings.scenario, Scenario::Login | Scenario::Storm) {
            approvers = those_who_scan(&api, options.approver_token_file.as_deref()).await?;
        }
    }
    let beside = match &options.redis_url {
        Some(url) => Some(Beside::new(url, settings.other_keys).await?),
        None => None,
    };
    Ok(Prepared { settings, targets, approvers, beside })
}

/// Returns those who scan.
async fn those_who_scan(api: &Api, file: Option<&Path>) -> anyhow::Result<Vec<Approver>> {
    if let Some(path) = file {
        let token = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let token = token.trim();
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("{} holds no token", path.display());
        }
        return Ok(vec![Approver { tokens: vec![token.to_owned()] }]);
    }
    let mut people = Vec::new();
    for number in 1..=APPROVERS {
        match api.sign_in(&format!("Loadgen {number}")).await {
            Ok(person) => people.push(person),
            Err(error) if error.is_not_found() => bail!(
                "the gateway runs no demo, so there are no made-up people; give --approver-token-file with a token of its identity provider"
            ),
            // Fewer do, where the gateway lets no more sign in at once.
            Err(ApiError::Refused { .. }) if !people.is_empty() => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(people)
}

fn check_files(settings: &Settings) -> anyhow::Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let share = u64::try_from(settings.streams.div_ceil(settings.processes)).unwrap_or(u64::MAX);
    if share + FILES_BESIDES > hard {
        bail!(
            "{share} streams per process are too many where a process may open {hard} files; use more --processes, \
             or raise the hard limit (ulimit -Hn)"
        );
    }
    Ok(())
}

/// Divides the work.
fn plans(prepared: &Prepared, began: Duration) -> Vec<Plan> {
    let settings = &prepared.settings;
    let count = settings.processes;
    let share = |all: usize, index: usize| all / count + usize::from(index < all % count);
    let part = |all: f64| all / u32::try_from(count).map_or(1.0, f64::from);
    let plan = |people, first, background, rate, logins_per_second, logins| Plan {
        settings: settings.clone(),
        targets: prepared.targets.clone(),
        approvers: prepared.approvers.clone(),
        people,
        first,
        background,
        rate,
        logins_per_second,
        logins,
        began,
    };
    let mut plans = Vec::new();
    let mut first = 0;
    for index in 0..count {
        let people = share(settings.streams, index);
        if people > 0 {
            let background = share(settings.background, index);
            let rate = settings.logins_per_second.map(part);
            plans.push(plan(people, first, background, part(settings.rate.into()), rate, 0));
        }
        first += people;
    }
    // Logins are timed in a process of their own, which nobody who merely waits keeps busy.
    if settings.scenario == Scenario::Login {
        plans.push(plan(0, first, 0, 0.0, settings.logins_per_second, settings.logins));
    }
    plans
}

async fn conduct(options: &Options, mut prepared: Prepared) -> anyhow::Result<Run> {
    let started_at = SystemTime::now();
    let began = Instant::now();
    let since_1970 = started_at.duration_since(SystemTime::UNIX_EPOCH).context("the clock is before 1970")?;
    let beside = prepared.beside.take();
    let first = if beside.is_some() { Phase::Filling } else { Phase::Opening };
    let mut stage = Stage {
        workers: Workers::new(),
        beside,
        progress: Progress::new(options.status, first, prepared.settings.streams, began),
        began,
        ends_at: began + prepared.settings.max_time,
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
    };
    let mut signalled_at = None;
    let played = stage.play(&prepared, since_1970, &mut signalled_at).await;
    let open = stage.workers.open();
    stage.progress.enter(Phase::Closing, open);
    let plain = stage.beside.as_ref().map(|beside| beside.plain.outcome());
    if let Some(beside) = &mut stage.beside {
        beside.remove().await;
    }
    let ending = match played? {
        Err(ending) => ending,
        Ok(()) => Ending::Complete,
    };
    let measured = stage.workers.close().await?;
    let seconds = began.elapsed();
    stage.progress.enter(Phase::Done, 0);
    let signalled_at = signalled_at.map(|at: Instant| at.duration_since(began));
    let Prepared { settings, targets, .. } = prepared;
    let targets = targets.into_iter().map(|target| target.text).collect();
    Ok(Run { settings, targets, started_at, seconds, ending, signalled_at, measured, plain })
}

/// What a run needs while it waits.
struct Stage {
    workers: Workers,
    beside: Option<Beside>,
    progress: Progress,
    began: Instant,
    ends_at: Instant,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stage {
    /// Goes through the phases of the scenario; the inner error says what ended it before its time.
    async fn play(
        &mut self,
        prepared: &Prepared,
        began: Duration,
        at: &mut Option<Instant>,
    ) -> anyhow::Result<Result<(), Ending>> {
        let settings = &prepared.settings;
        let steps = async {
            self.fill().await?;
            self.workers.start(plans(prepared, began)).await?;
            self.enter(Phase::Opening);
            self.wait(None, Workers::all_opened).await?;
            match settings.scenario {
                Scenario::Idle | Scenario::Poll => {
                    self.enter(if settings.scenario == Scenario::Idle { Phase::Holding } else { Phase::Running });
                    self.wait(Some(settings.hold), |_| false).await?;
                }
                Scenario::Login | Scenario::Expiry => {
                    self.enter(Phase::Running);
                    self.workers.order(&Order::Run).await?;
                    self.wait(None, Workers::all_finished).await?;
                    if let Some(Beside { plain, .. }) = &self.beside {
                        let is_over = plain.is_over();
                        self.wait(Some(plain.time_left()), |_| is_over()).await?;
                    }
                }
                Scenario::Storm => {
                    self.enter(Phase::Running);
                    self.workers.order(&Order::Run).await?;
                    self.wait(Some(settings.after), |_| false).await?;
                    if !settings.pids.is_empty() {
                        *at = Some(Instant::now());
                        send(settings.signal, &settings.pids)?;
                    }
                    self.wait(Some(settings.hold), |_| false).await?;
                    self.workers.order(&Order::Settle).await?;
                    self.wait(Some(SETTLE_TIME), Workers::all_finished).await?;
                }
            }
            Ok(())
        };
        match steps.await {
            Ok(()) => Ok(Ok(())),
            Err(Halt::Ending(ending)) => Ok(Err(ending)),
            Err(Halt::Error(error)) => Err(error),
        }
    }

    /// Writes the keys of others, if there are to be any.
    async fn fill(&mut self) -> Result<(), Halt> {
        let Some(Beside { others, .. }) = &mut self.beside else { return Ok(()) };
        let mut ticks = interval(Duration::from_secs(1));
        while !others.is_complete() {
            tokio::select! {
                added = others.add() => added.context("the keys of others could not be written to Redis")?,
                _ = self.interrupt.recv() => return Err(Halt::Ending(Ending::Interrupted)),
                _ = self.terminate.recv() => return Err(Halt::Ending(Ending::Interrupted)),
                () = sleep_until(self.ends_at.into()) => return Err(Halt::Ending(Ending::OutOfTime)),
            }
            if ticks.tick().now_or_never().is_some() {
                self.progress.show_keys(others.count(), others.wanted());
            }
        }
        Ok(())
    }

    /// Makes a plain key for each ticket that was reported since.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let deadlines: Vec<_> = self.workers.take_deadlines().into_iter().map(|at| self.began + at).collect();
        let Some(Beside { plain, .. }) = &mut self.beside else { return Ok(()) };
        plain.add(&deadlines).await.context("the plain keys could not be written to Redis")
    }

    fn enter(&mut self, phase: Phase) {
        self.progress.enter(phase, self.workers.open());
    }

    /// Waits until `is_done`, or for `time` if that is shorter.
    async fn wait(&mut self, time: Option<Duration>, is_done: impl Fn(&Workers) -> bool) -> Result<(), Halt> {
        let ends_at = time.map(|time| Instant::now() + time);
        let deadline = ends_at.unwrap_or(self.ends_at).min(self.ends_at);
        let mut ticks = interval(Duration::from_secs(1));
        ticks.reset();
        while !is_done(&self.workers) {
            tokio::select! {
                heard = self.workers.hear() => {
                    heard?;
                    self.follow().await?;
                }
                _ = ticks.tick() => self.progress.show(self.workers.open()),
                _ = self.interrupt.recv() => return Err(Halt::Ending(Ending::Interrupted)),
                _ = self.terminate.recv() => return Err(Halt::Ending(Ending::Interrupted)),
                () = sleep_until(deadline.into()) => {
                    return if ends_at.is_some_and(|at| at <= self.ends_at) { Ok(()) } else { Err(Halt::Ending(Ending::OutOfTime)) };
                }
            }
        }
        Ok(())
    }
}

/// Why waiting ended before its time.
enum Halt {
    Ending(Ending),
    Error(anyhow::Error),
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
}

fn send(signal: Signal, pids: &[i32]) -> anyhow::Result<()> {
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
    Pid::from_raw(pid).with_context(|| format!("{pid} is no process"))
}
