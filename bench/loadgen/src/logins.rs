//! People who log in: whole logins one after another (`login`), and confirmations of tickets that others hold (`storm`).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Api, ApiError, Approver};
use crate::connect::ANSWER_TIME;
use crate::context::{Confirmation, Context};
use crate::pacer::Pacer;
use crate::spawn;
use crate::stream::{Request, Stream};

/// How long the event may take after the confirmation.
const EVENT_TIME: Duration = Duration::from_secs(10);
/// How often a scan or confirmation is tried where no gateway answers, and how long apart.
const MAX_TRIES: u32 = 50;
const TRY_EVERY: Duration = Duration::from_millis(200);
/// How long confirmations that were made may take to be delivered, once no more are made.
const SETTLE_TIME: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Makes `count` logins, as many at a time as the settings say, at most `rate` per second.
pub async fn all(context: &Arc<Context>, count: u64, rate: Option<f64>, stop: &CancellationToken) {
    let next = Arc::new(AtomicU64::new(0));
    let pacer = Arc::new(tokio::sync::Mutex::new(Pacer::new(rate.unwrap_or_default())));
    let at_once = TaskTracker::new();
    context.count(|measured| measured.login.span.begins(context.now()));
    for _ in 0..context.settings.concurrency_logins {
        let (context, next, pacer, stop) = (Arc::clone(context), Arc::clone(&next), Arc::clone(&pacer), stop.clone());
        spawn(at_once.track_future(async move {
            while !stop.is_cancelled() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                pacer.lock().await.next().await;
                let result = log_in(&context, usize::try_from(number).unwrap_or_default()).await;
                context.count(|measured| {
                    measured.login.count += 1;
                    measured.login.span.ends(context.now());
                    if let Err(error) = result {
                        measured.login.failed += 1;
                        measured.error(&format!("login: {error}"));
                    }
                });
            }
        }));
    }
    at_once.close();
    at_once.wait().await;
}

/// One whole login: make a ticket, open its stream, scan, confirm, read the token.
async fn log_in(context: &Context, number: usize) -> Result<(), String> {
    let began = Instant::now();
    let text = |error: ApiError| error.to_string();
    let who = &context.approvers[number % context.approvers.len()];
    let ticket = context.api.create().await.map_err(text)?;
    let wanted = Request {
        target: &context.api.targets[number % context.api.targets.len()],
        path: &ticket.events,
        bearer: Some(&ticket.secret),
        last_id: "",
    };
    let mut stream = Stream::open(&context.api.dialer, wanted).await.map_err(|error| error.to_string())?;
    let first = timeout(ANSWER_TIME, stream.until("pending")).await;
    first.map_err(|_| "pending did not come in time")??;
    context.api.scan(&ticket.id, who).await.map_err(text)?;
    let asked_at = Instant::now();
    let confirm = async {
        let confirmed = context.api.confirm(&ticket.id, who).await;
        confirmed.map(|()| asked_at.elapsed())
    };
    let (confirmed, told) = tokio::join!(confirm, timeout(EVENT_TIME, stream.until("confirmed")));
    let answered_after = confirmed.map_err(text)?;
    let (told_at, data) = told.map_err(|_| "confirmed did not come in time")??;
    if !data.contains("\"access_token\"") {
        return Err("confirmed came without a token".to_owned());
    }
    context.count(|measured| {
        measured.login.confirm_request.record(answered_after);
        measured.login.confirm_to_event.record(told_at.saturating_duration_since(asked_at));
        measured.login.whole.record(told_at.saturating_duration_since(began));
    });
    Ok(())
}

/// Confirms tickets that the people of this process wait for, in turn, `rate` per second, until `stop`; then waits until
/// the streams have been told of all of them, or [`SETTLE_TIME`] is over.
pub async fn confirmations(context: &Arc<Context>, rate: f64, stop: &CancellationToken) {
    let under_way = TaskTracker::new();
    let cursor = AtomicUsize::new(0);
    let mut pacer = Pacer::new(rate);
    context.count(|measured| measured.login.span.begins(context.now()));
    while stop.run_until_cancelled(pacer.next()).await.is_some() && rate > 0.0 {
        let seats = context.seats.len();
        let mut turns = (0..seats).map(|_| cursor.fetch_add(1, Ordering::Relaxed) % seats);
        if let Some((id, confirmation)) = turns.find_map(|seat| context.seats[seat].choose()) {
            let number = cursor.load(Ordering::Relaxed);
            spawn(under_way.track_future(confirm(Arc::clone(context), number, id, confirmation)));
        }
    }
    under_way.close();
    let ends_at = Instant::now() + SETTLE_TIME;
    let is_settled =
        || under_way.is_empty() && context.count(|measured| measured.storm.delivered >= measured.storm.made);
    while !is_settled() && Instant::now() < ends_at {
        sleep(LOOK_EVERY).await;
    }
}

async fn confirm(context: Arc<Context>, number: usize, id: String, confirmation: Arc<Confirmation>) {
    let who = &context.approvers[number % context.approvers.len()];
    let result = match persist(&context.api, Step::Scan, &id, who).await {
        Ok(_) => persist(&context.api, Step::Confirm(&confirmation), &id, who).await,
        Err(error) => Err(error),
    };
    context.count(|measured| {
        measured.login.count += 1;
        measured.login.span.ends(context.now());
        if let Ok(answered_after) = result {
            measured.login.confirm_request.record(answered_after);
        }
        // An answer can be lost on the way although the stream has been told.
        if result.is_ok() || confirmation.is_delivered.load(Ordering::Relaxed) {
            measured.storm.made += 1;
        } else if let Err(error) = result {
            measured.login.failed += 1;
            measured.error(&error.to_string());
        }
    });
}

/// What a phone does.
#[derive(Clone, Copy)]
enum Step<'a> {
    Scan,
    Confirm(&'a Confirmation),
}

/// Does it, again and again while no gateway answers: a phone whose request broke off asks again. Returns how long the
/// answer took.
async fn persist(api: &Api, step: Step<'_>, id: &str, who: &Approver) -> Result<Duration, ApiError> {
    let mut tries = 1;
    loop {
        let asked_at = Instant::now();
        let result = match step {
            Step::Scan => api.scan(id, who).await,
            Step::Confirm(confirmation) => {
                *confirmation.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked_at);
                api.confirm(id, who).await
            }
        };
        match result {
            Ok(()) => return Ok(asked_at.elapsed()),
            Err(error) if error.again_after().is_some() && tries < MAX_TRIES => sleep(TRY_EVERY).await,
            Err(error) => return Err(error),
        }
        tries += 1;
    }
}
