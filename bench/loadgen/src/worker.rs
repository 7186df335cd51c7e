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
use crate::board::Board;
use crate::connect::Dialer;
use crate::messages::{Order, Plan, Report};
use crate::options::Scenario;
use crate::pace::Pace;
use crate::person::Person;
use crate::{logins, poll, spawn};

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
    let board = Arc::new(board(&plan)?);
    let too_late = Instant::now() + board.settings.max_time + OVERTIME;
    let people = TaskTracker::new();
    let settling = CancellationToken::new();
    spawn(Arc::clone(&board).sweep());
    spawn(report(Arc::clone(&board)));
    let plan = Arc::new(*plan);
    spawn(open(Arc::clone(&board), Arc::clone(&plan), people.clone()));
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            () = sleep_until(too_late.into()) => None,
        };
        match order {
            Some(Order::Run) => run(&board, &plan, &people, &settling),
            Some(Order::Settle) => settling.cancel(),
            Some(Order::Stop) => break,
            Some(Order::Begin(_)) => bail!("a second plan came"),
            None => bail!("nobody gives orders any more"),
        }
    }
    let tally = board.count(std::mem::take);
    say(&Report::Result(Box::new(tally)));
    Ok(())
}

/// Raises the soft limit on open files to the hard one.
fn raise_open_files() -> std::io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn board(plan: &Plan) -> anyhow::Result<Board> {
    let settings = plan.settings.clone();
    let sources = settings.source_addresses.clone();
    let dialer = Arc::new(Dialer::new(sources, settings.http, settings.ca.as_deref(), settings.insecure)?);
    let api = Api::new(dialer, plan.targets.clone().into(), settings.client_id.clone());
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().saturating_sub(plan.began);
    let began = Instant::now().checked_sub(since).unwrap_or_else(Instant::now);
    Ok(Board::new(settings, api, plan.approvers.clone(), began, plan.people))
}

/// Opens all streams at the set rate, then says so.
async fn open(board: Arc<Board>, plan: Arc<Plan>, people: TaskTracker) {
    let permits = Arc::new(Semaphore::new(board.settings.concurrency));
    make_tickets(&board, plan.background, &permits).await;
    let is_polling = board.settings.scenario == Scenario::Poll;
    let beforehand = if board.settings.tickets_first && !is_polling { plan.people } else { 0 };
    let mut tickets = make_tickets(&board, beforehand, &permits).await;
    let mut pace = Pace::new(plan.rate);
    for seat in 0..plan.people {
        pace.next().await;
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let number = plan.first + seat;
        if is_polling {
            spawn(people.track_future(poll::live(Arc::clone(&board), number, permit)));
        } else {
            let person = Person::new(&board, number, seat, permit);
            spawn(people.track_future(person.live(tickets.pop_front())));
        }
    }
    people.close();
    // All permits are back when nobody is at their first attempt any more.
    let all = u32::try_from(board.settings.concurrency).unwrap_or(u32::MAX);
    drop(permits.acquire_many(all).await);
    tell(&board);
    say(&Report::Opened);
}

/// Makes tickets as fast as it goes; errors are counted, not tried again.
async fn make_tickets(board: &Arc<Board>, count: usize, permits: &Arc<Semaphore>) -> VecDeque<Ticket> {
    let (made, mut tickets) = mpsc::channel(board.settings.concurrency);
    let makers = Arc::clone(board);
    let permits = Arc::clone(permits);
    spawn(async move {
        for _ in 0..count {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let (board, made) = (Arc::clone(&makers), made.clone());
            spawn(async move {
                match board.api.create().await {
                    Ok(ticket) => drop(made.send(ticket).await),
                    Err(error) => board.count(|tally| tally.error(&error.to_string())),
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
fn run(board: &Arc<Board>, plan: &Arc<Plan>, people: &TaskTracker, settling: &CancellationToken) {
    let (board, plan, settling) = (Arc::clone(board), Arc::clone(plan), settling.clone());
    match board.settings.scenario {
        Scenario::Idle | Scenario::Poll => {}
        Scenario::Login if plan.logins == 0 => {}
        Scenario::Login => {
            spawn(async move {
                logins::all(&board, plan.logins, plan.logins_per_second, &settling).await;
                say(&Report::Finished);
            });
        }
        Scenario::Storm => {
            spawn(async move {
                logins::confirmations(&board, plan.logins_per_second.unwrap_or_default(), &settling).await;
                say(&Report::Finished);
            });
        }
        Scenario::Expiry => {
            let people = people.clone();
            spawn(async move {
                let ends_at = board.began + board.count(|tally| tally.expiry.last_deadline) + EXPIRY_GRACE;
                let left = ends_at.saturating_duration_since(Instant::now());
                if timeout(left, people.wait()).await.is_err() {
                    board.count(|tally| tally.expiry.missing += u64::try_from(people.len()).unwrap_or(u64::MAX));
                }
                say(&Report::Finished);
            });
        }
    }
}

async fn report(board: Arc<Board>) {
    let mut ticks = interval(REPORT_EVERY);
    loop {
        ticks.tick().await;
        tell(&board);
    }
}

fn tell(board: &Board) {
    say(&Report::Open(board.count(|tally| tally.open)));
    let deadlines = board.take_deadlines();
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
