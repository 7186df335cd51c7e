//! A worker process: opens its share of the streams and does what it is told, until it is told to stop or the parent is
//! gone.

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
use crate::messages::{Order, Plan, Report};
use crate::options::Scenario;
use crate::pacer::Pacer;
use crate::presenter::Presenter;
use crate::{logins, poller, spawn};

/// How often the parent hears how many streams are open.
const REPORT_EVERY: Duration = Duration::from_millis(250);
/// How long a worker goes on after the run's own bound: it should have been stopped long ago.
const OVERTIME: Duration = Duration::from_secs(60);
/// How long after its deadline an `expired` event may come.
const EXPIRY_GRACE: Duration = Duration::from_secs(60);
/// How many orders may wait.
const ORDERS: usize = 16;
/// The exit code where the parent is gone.
const ORPHANED: i32 = 3;

/// Runs as a worker.
pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.context("no runtime").and_then(|runtime| {
        let result = runtime.block_on(work());
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&Report::Failed(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

async fn work() -> anyhow::Result<()> {
    let mut orders = listen();
    let Some(Order::Begin(plan)) = orders.recv().await else { bail!("no plan came") };
    // The parent has looked whether this is enough.
    let _ = raise_open_files();
    let context = Arc::new(context(&plan)?);
    let too_late = Instant::now() + context.settings.max_time + OVERTIME;
    let people = TaskTracker::new();
    let settling = CancellationToken::new();
    spawn(Arc::clone(&context).sweep());
    spawn(report(Arc::clone(&context)));
    let plan = Arc::new(*plan);
    spawn(open(Arc::clone(&context), Arc::clone(&plan), people.clone()));
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            () = sleep_until(too_late.into()) => None,
        };
        match order {
            Some(Order::Run) => run(&context, &plan, &people, &settling),
            Some(Order::Settle) => settling.cancel(),
            Some(Order::Stop) => break,
            Some(Order::Begin(_)) => bail!("a second plan came"),
            None => bail!("nobody gives orders any more"),
        }
    }
    let measured = context.count(std::mem::take);
    say(&Report::Result(Box::new(measured)));
    Ok(())
}

/// Raises the soft limit on open files to the hard one.
fn raise_open_files() -> std::io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn context(plan: &Plan) -> anyhow::Result<Context> {
    let settings = plan.settings.clone();
    let sources = settings.source_addresses.clone();
    let dialer = Arc::new(Dialer::new(sources, settings.http, settings.ca.as_deref(), settings.insecure)?);
    let api = Api::new(dialer, plan.targets.clone().into(), settings.client_id.clone());
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().saturating_sub(plan.began);
    let began = Instant::now().checked_sub(since).unwrap_or_else(Instant::now);
    Ok(Context::new(settings, api, plan.approvers.clone(), began, plan.people))
}

/// Opens all streams at the set rate, then says so.
async fn open(context: Arc<Context>, plan: Arc<Plan>, people: TaskTracker) {
    let permits = Arc::new(Semaphore::new(context.settings.concurrency));
    make_tickets(&context, plan.background, &permits).await;
    let is_polling = context.settings.scenario == Scenario::Poll;
    let beforehand = if context.settings.tickets_first && !is_polling { plan.people } else { 0 };
    let mut tickets = make_tickets(&context, beforehand, &permits).await;
    let mut pacer = Pacer::new(plan.rate);
    for seat in 0..plan.people {
        pacer.next().await;
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let number = plan.first + seat;
        if is_polling {
            spawn(people.track_future(poller::live(Arc::clone(&context), number, permit)));
        } else {
            let person = Presenter::new(&context, number, seat, permit);
            spawn(people.track_future(person.live(tickets.pop_front())));
        }
    }
    people.close();
    // All permits are back when nobody is at their first attempt any more.
    let all = u32::try_from(context.settings.concurrency).unwrap_or(u32::MAX);
    drop(permits.acquire_many(all).await);
    tell(&context);
    say(&Report::Opened);
}

/// Makes tickets as fast as it goes; errors are counted, not tried again.
async fn make_tickets(context: &Arc<Context>, count: usize, permits: &Arc<Semaphore>) -> VecDeque<Ticket> {
    let (made, mut tickets) = mpsc::channel(context.settings.concurrency);
    let makers = Arc::clone(context);
    let permits = Arc::clone(permits);
    spawn(async move {
        for _ in 0..count {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let (context, made) = (Arc::clone(&makers), made.clone());
            spawn(async move {
                match context.api.create().await {
                    Ok(ticket) => drop(made.send(ticket).await),
                    Err(error) => context.count(|measured| measured.error(&error.to_string())),
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

/// Does what the scenario does while streams are open.
fn run(context: &Arc<Context>, plan: &Arc<Plan>, people: &TaskTracker, settling: &CancellationToken) {
    let (context, plan, settling) = (Arc::clone(context), Arc::clone(plan), settling.clone());
    match context.settings.scenario {
        Scenario::Idle | Scenario::Poll => {}
        Scenario::Login if plan.logins == 0 => {}
        Scenario::Login => {
            spawn(async move {
                logins::all(&context, plan.logins, plan.logins_per_second, &settling).await;
                say(&Report::Finished);
            });
        }
        Scenario::Storm => {
            spawn(async move {
                logins::confirmations(&context, plan.logins_per_second.unwrap_or_default(), &settling).await;
                say(&Report::Finished);
            });
        }
        Scenario::Expiry => {
            let people = people.clone();
            spawn(async move {
                let ends_at = context.began + context.count(|measured| measured.expiry.last_deadline) + EXPIRY_GRACE;
                let left = ends_at.saturating_duration_since(Instant::now());
                if timeout(left, people.wait()).await.is_err() {
                    context
                        .count(|measured| measured.expiry.missing += u64::try_from(people.len()).unwrap_or(u64::MAX));
                }
                say(&Report::Finished);
            });
        }
    }
}

async fn report(context: Arc<Context>) {
    let mut ticks = interval(REPORT_EVERY);
    loop {
        ticks.tick().await;
        tell(&context);
    }
}

fn tell(context: &Context) {
    say(&Report::Open(context.count(|measured| measured.open)));
    let deadlines = context.take_deadlines();
    if !deadlines.is_empty() {
        say(&Report::Deadlines(deadlines));
    }
}

/// Returns the parent's orders. When the parent is gone, this process ends on the spot, whatever it is doing.
fn listen() -> mpsc::Receiver<Order> {
    let (sender, orders) = mpsc::channel(ORDERS);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let order = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            let Some(order) = order else { break };
            if sender.blocking_send(order).is_err() {
                // Work is over; the parent may take its time.
                return;
            }
        }
        std::process::exit(ORPHANED);
    });
    orders
}

fn say(report: &Report) {
    let line = serde_json::to_string(report).unwrap_or_default();
    let mut output = std::io::stdout().lock();
    // Without a parent there is nobody to tell.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}
