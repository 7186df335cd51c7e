//! A worker process: it opens its share of the streams and follows orders until it is stopped or the coordinator ends.

use std::collections::VecDeque;
use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Api, Ticket};
use crate::connect::Dialer;
use crate::context::Context;
use crate::messages::{Order, Plan, Report, Role};
use crate::pacer::Pacer;
use crate::presenter::Presenter;
use crate::settings::Scenario;
use crate::{logins, poller, spawn};

/// The time between two reports of the number of open streams.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// How long a worker continues after `--max-time`. Normally, the coordinator stops it long before.
const STOP_GRACE: Duration = Duration::from_secs(60);
/// How long after its deadline an `expired` event may arrive.
const EXPIRY_GRACE: Duration = Duration::from_secs(60);
/// The capacity of the order queue.
const MAX_ORDERS: usize = 16;
/// The exit code of a worker whose coordinator has ended.
const COORDINATOR_GONE: i32 = 3;

/// Runs as a worker.
pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.context("the runtime could not be started").and_then(|runtime| {
        let result = runtime.block_on(follow_orders());
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            send(&Report::Failed(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

async fn follow_orders() -> anyhow::Result<()> {
    let mut orders = read_orders();
    let Some(Order::Begin(plan)) = orders.recv().await else { bail!("the first order is not a plan") };
    // The coordinator has checked that the hard limit is high enough.
    let _ = raise_open_files();
    let role = plan.role;
    let context = Arc::new(context(*plan)?);
    let ends_at = Instant::now() + context.settings.max_time + STOP_GRACE;
    let presenters = TaskTracker::new();
    let settling = CancellationToken::new();
    if context.settings.scenario.has_event_streams() {
        spawn(Arc::clone(&context).count_missed_heartbeats());
    }
    spawn(report_periodically(Arc::clone(&context)));
    spawn(open(Arc::clone(&context), role, presenters.clone()));
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            () = sleep_until(ends_at.into()) => None,
        };
        match order {
            Some(Order::Run) => run(&context, role, &presenters, &settling),
            Some(Order::Settle) => settling.cancel(),
            Some(Order::Stop) => break,
            Some(Order::Begin(_)) => bail!("received a second plan"),
            None => bail!("received no order in time"),
        }
    }
    let measurements = context.measure(std::mem::take);
    send(&Report::Result(Box::new(measurements)));
    Ok(())
}

/// Raises the soft limit on open files to the hard one.
fn raise_open_files() -> std::io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn context(plan: Plan) -> anyhow::Result<Context> {
    let Plan { settings, targets, approvers, app, role, started } = plan;
    let sources = settings.source_addresses.clone();
    let dialer = Arc::new(Dialer::new(sources, settings.http, settings.ca.as_deref(), settings.insecure)?);
    let api = Api::new(dialer, targets.into(), settings.client_id.clone());
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().saturating_sub(started);
    let started = Instant::now().checked_sub(since).unwrap_or_else(Instant::now);
    let presenters = if let Role::Presenters { count, .. } = role { count } else { 0 };
    Ok(Context::new(settings, api, approvers, app, started, presenters))
}

/// Opens all streams of a worker at the given rate, then reports that they are open.
async fn open(context: Arc<Context>, role: Role, tasks: TaskTracker) {
    if let Role::Presenters { count, first, background, rate, .. } = role {
        let permits = Arc::new(Semaphore::new(context.settings.concurrency));
        create_tickets(&context, background, &permits).await;
        let beforehand = if context.settings.scenario.creates_tickets_first() { count } else { 0 };
        let mut tickets = create_tickets(&context, beforehand, &permits).await;
        let mut pacer = Pacer::new(rate);
        for index in 0..count {
            pacer.next().await;
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let number = first + index;
            if let Scenario::Poll { interval, .. } = context.settings.scenario {
                spawn(tasks.track_future(poller::run(Arc::clone(&context), number, interval, permit)));
            } else {
                let presenter = Presenter::new(&context, number, index, permit);
                spawn(tasks.track_future(presenter.run(tickets.pop_front())));
            }
        }
        // Every first attempt releases its permit when it ends.
        let all = u32::try_from(context.settings.concurrency).unwrap_or(u32::MAX);
        drop(permits.acquire_many(all).await);
    }
    tasks.close();
    report(&context);
    send(&Report::Opened);
}

/// Creates tickets without a rate limit. Failures are counted and not retried.
async fn create_tickets(context: &Arc<Context>, count: usize, permits: &Arc<Semaphore>) -> VecDeque<Ticket> {
    let (created, mut tickets) = mpsc::channel(context.settings.concurrency);
    let shared = Arc::clone(context);
    let permits = Arc::clone(permits);
    spawn(async move {
        for _ in 0..count {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let (context, created) = (Arc::clone(&shared), created.clone());
            spawn(async move {
                match context.api.create().await {
                    Ok(ticket) => drop(created.send(ticket).await),
                    Err(error) => context.measure(|measured| measured.count_error(&error.to_string())),
                }
                drop(permit);
            });
        }
    });
    let mut all = VecDeque::with_capacity(count);
    while let Some(ticket) = tickets.recv().await {
        all.push_back(ticket);
    }
    all
}

/// Starts the scenario's action while streams are open.
fn run(context: &Arc<Context>, role: Role, presenters: &TaskTracker, settling: &CancellationToken) {
    let (context, settling) = (Arc::clone(context), settling.clone());
    match role {
        Role::Logins { count, per_second, concurrency } => {
            spawn(async move {
                logins::log_in_repeatedly(&context, count, per_second, concurrency, &settling).await;
                send(&Report::Finished);
            });
        }
        Role::Presenters { confirmations_per_second, .. } => match context.settings.scenario {
            Scenario::Idle { .. } | Scenario::Poll { .. } | Scenario::Login { .. } => {}
            Scenario::Storm { .. } => {
                spawn(async move {
                    logins::confirm_waiting_tickets(&context, confirmations_per_second, &settling).await;
                    send(&Report::Finished);
                });
            }
            Scenario::Expiry { .. } => {
                let presenters = presenters.clone();
                spawn(async move {
                    let last_deadline = context.measure(|measured| measured.expiry.last_deadline);
                    let ends_at = context.started + last_deadline + EXPIRY_GRACE;
                    let left = ends_at.saturating_duration_since(Instant::now());
                    if timeout(left, presenters.wait()).await.is_err() {
                        let missing = u64::try_from(presenters.len()).unwrap_or(u64::MAX);
                        context.measure(|measured| measured.expiry.missing += missing);
                    }
                    send(&Report::Finished);
                });
            }
        },
    }
}

async fn report_periodically(context: Arc<Context>) {
    let mut ticks = interval(REPORT_INTERVAL);
    loop {
        ticks.tick().await;
        report(&context);
    }
}

fn report(context: &Context) {
    send(&Report::Open(context.measure(|measured| measured.open)));
    let deadlines = context.take_deadlines();
    if !deadlines.is_empty() {
        send(&Report::Deadlines(deadlines));
    }
}

/// Returns the coordinator's orders. When the coordinator ends, this process exits at once.
fn read_orders() -> mpsc::Receiver<Order> {
    let (sender, orders) = mpsc::channel(MAX_ORDERS);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let order = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            let Some(order) = order else { break };
            if sender.blocking_send(order).is_err() {
                // The worker has stopped; the coordinator still reads the result.
                return;
            }
        }
        std::process::exit(COORDINATOR_GONE);
    });
    orders
}

fn send(report: &Report) {
    let line = serde_json::to_string(report).unwrap_or_default();
    let mut output = std::io::stdout().lock();
    // It fails only if the coordinator has ended. Then this process ends, too.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}
