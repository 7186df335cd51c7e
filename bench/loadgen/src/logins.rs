//! Approvers: complete logins one after another (`login`), and confirmations of waiting presenters' tickets (`storm`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Api, ApiError, Approver};
use crate::connect::RESPONSE_TIMEOUT;
use crate::context::{Confirmation, Context};
use crate::openid::Browser;
use crate::pacer::Pacer;
use crate::spawn;
use crate::stream::{Credential, Request, Stream};

/// How long the event may take after the confirmation.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of attempts at a scan or confirmation while no gateway responds.
const MAX_ATTEMPTS: u32 = 50;
/// The time between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// How long to wait for the events of the last confirmations.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);
/// The time between two checks for them.
const SETTLE_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Performs `count` logins, up to `concurrency` at a time, and at most `rate` per second.
pub async fn log_in_repeatedly(
    context: &Arc<Context>,
    count: u64,
    rate: Option<f64>,
    concurrency: usize,
    stop: &CancellationToken,
) {
    let next = Arc::new(AtomicU64::new(0));
    let pacer = Arc::new(tokio::sync::Mutex::new(Pacer::new(rate.unwrap_or_default())));
    let logins = TaskTracker::new();
    let session = match session(context).await.transpose() {
        Ok(session) => Arc::new(session),
        Err(error) => {
            return context.measure(|measured| {
                (measured.login.count, measured.login.failed) = (count, count);
                measured.count_error(&format!("first login: {error}"));
            });
        }
    };
    let requests = context.api.dialer.requests();
    context.measure(|measured| measured.login.span.record_start(context.elapsed()));
    for _ in 0..concurrency {
        let (context, next, pacer, stop) = (Arc::clone(context), Arc::clone(&next), Arc::clone(&pacer), stop.clone());
        let session = Arc::clone(&session);
        spawn(logins.track_future(async move {
            while !stop.is_cancelled() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                pacer.lock().await.next().await;
                let result =
                    log_in(&context, usize::try_from(number).unwrap_or_default(), session.as_ref().as_ref()).await;
                context.measure(|measured| {
                    measured.login.count += 1;
                    measured.login.span.record_end(context.elapsed());
                    if let Err(error) = result {
                        measured.login.failed += 1;
                        measured.count_error(&format!("login: {error}"));
                    }
                });
            }
        }));
    }
    logins.close();
    logins.wait().await;
    context.measure(|measured| measured.login.requests = context.api.dialer.requests() - requests);
}

/// Signs in by a scan, and returns the browser with its session; `None` without single sign-on.
async fn session(context: &Context) -> Option<Result<Browser, String>> {
    let has_session = context.settings.scenario.openid().is_some_and(|openid| openid.single_sign_on);
    let app = context.app.as_ref().filter(|_app| has_session)?;
    let mut browser = Browser::default();
    let signed_in = app.sign_in(&mut browser, context, 0).await;
    Some(signed_in.map(|_ended_at| browser))
}

/// Performs one login: by OpenID Connect if there is an app, and then by `session` if there is one; otherwise by the API.
async fn log_in(context: &Context, number: usize, session: Option<&Browser>) -> Result<(), String> {
    let started = Instant::now();
    let ended = match (&context.app, session) {
        (None, _) => log_in_by_api(context, number).await?,
        (Some(app), None) => app.sign_in(&mut Browser::default(), context, number).await?,
        (Some(app), Some(browser)) => app.sign_in_again(browser.clone(), context, number).await?,
    };
    context.measure(|measured| measured.login.whole.record(ended.saturating_duration_since(started)));
    Ok(())
}

/// Creates a ticket, opens its stream, scans, confirms, and reads the token. Returns when the token arrived.
async fn log_in_by_api(context: &Context, number: usize) -> Result<Instant, String> {
    let ticket = context.api.create().await.map_err(|error| error.to_string())?;
    let credential = Credential::Bearer(&ticket.secret);
    let (received_at, data) = approve(context, number, &ticket.id, &ticket.events, credential).await?;
    if data.contains("\"access_token\"") { Ok(received_at) } else { Err("confirmed contains no token".to_owned()) }
}

/// Opens the stream of a ticket, scans, confirms, and waits for the event. Returns when it arrived, and its data.
///
/// # Errors
/// If a step fails.
pub async fn approve(
    context: &Context,
    number: usize,
    id: &str,
    events: &str,
    credential: Credential<'_>,
) -> Result<(Instant, String), String> {
    let text = |error: ApiError| error.to_string();
    let approver = &context.approvers[number % context.approvers.len()];
    let target = &context.api.targets[number % context.api.targets.len()];
    let request = Request { target, path: events, credential, last_id: "" };
    let mut stream = Stream::open(&context.api.dialer, request).await.map_err(|error| error.to_string())?;
    let first = timeout(RESPONSE_TIMEOUT, stream.until("pending")).await;
    first.map_err(|_| "pending did not arrive in time")??;
    context.api.scan(id, approver).await.map_err(text)?;
    let requested_at = Instant::now();
    let confirm = async {
        let confirmed = context.api.confirm(id, approver).await;
        confirmed.map(|()| requested_at.elapsed())
    };
    let (confirmed, event) = tokio::join!(confirm, timeout(EVENT_TIMEOUT, stream.until("confirmed")));
    let response_time = confirmed.map_err(text)?;
    let (received_at, data) = event.map_err(|_| "confirmed did not arrive in time")??;
    context.measure(|measured| {
        measured.login.confirm_request.record(response_time);
        measured.login.confirm_to_event.record(received_at.saturating_duration_since(requested_at));
    });
    Ok((received_at, data))
}

/// Confirms the tickets of this process's presenters in turn, `rate` per second, until `stop` is cancelled. Then waits until
/// their streams have received every confirmation, for at most [`SETTLE_TIMEOUT`].
pub async fn confirm_waiting_tickets(context: &Arc<Context>, rate: f64, stop: &CancellationToken) {
    let in_progress = TaskTracker::new();
    let cursor = AtomicUsize::new(0);
    let mut pacer = Pacer::new(rate);
    context.measure(|measured| measured.login.span.record_start(context.elapsed()));
    while stop.run_until_cancelled(pacer.next()).await.is_some() && rate > 0.0 {
        let count = context.presenters.len();
        let mut turns = (0..count).map(|_| cursor.fetch_add(1, Ordering::Relaxed) % count);
        if let Some((id, confirmation)) = turns.find_map(|index| context.presenters[index].reserve()) {
            let number = cursor.load(Ordering::Relaxed);
            spawn(in_progress.track_future(scan_and_confirm(Arc::clone(context), number, id, confirmation)));
        }
    }
    in_progress.close();
    let ends_at = Instant::now() + SETTLE_TIMEOUT;
    let is_settled =
        || in_progress.is_empty() && context.measure(|measured| measured.storm.delivered >= measured.storm.made);
    while !is_settled() && Instant::now() < ends_at {
        sleep(SETTLE_CHECK_INTERVAL).await;
    }
}

async fn scan_and_confirm(context: Arc<Context>, number: usize, id: String, confirmation: Arc<Confirmation>) {
    let approver = &context.approvers[number % context.approvers.len()];
    let result = match retry(&context.api, Action::Scan, &id, approver).await {
        Ok(_) => retry(&context.api, Action::Confirm(&confirmation), &id, approver).await,
        Err(error) => Err(error),
    };
    context.measure(|measured| {
        measured.login.count += 1;
        measured.login.span.record_end(context.elapsed());
        if let Ok(response_time) = result {
            measured.login.confirm_request.record(response_time);
        }
        // The response may be lost although the stream has received the event.
        if result.is_ok() || confirmation.is_delivered.load(Ordering::Relaxed) {
            measured.storm.made += 1;
        } else if let Err(error) = result {
            measured.login.failed += 1;
            measured.count_error(&error.to_string());
        }
    });
}

/// A request of an approver.
#[derive(Clone, Copy)]
enum Action<'a> {
    Scan,
    Confirm(&'a Confirmation),
}

/// Sends the request, and retries while no gateway responds, as an approver's app does. Returns how long the last response
/// took.
async fn retry(api: &Api, action: Action<'_>, id: &str, approver: &Approver) -> Result<Duration, ApiError> {
    let mut attempts = 1;
    loop {
        let requested_at = Instant::now();
        let result = match action {
            Action::Scan => api.scan(id, approver).await,
            Action::Confirm(confirmation) => {
                *confirmation.requested_at.lock() = Some(requested_at);
                api.confirm(id, approver).await
            }
        };
        match result {
            Ok(()) => return Ok(requested_at.elapsed()),
            Err(error) if error.retry_after().is_some() && attempts < MAX_ATTEMPTS => sleep(RETRY_INTERVAL).await,
            Err(error) => return Err(error),
        }
        attempts += 1;
    }
}
