//! People who sign in again and again while something breaks, on several gateways, and what became of each sign-in.
//!
//! Browsers come back as `EventSource` does, each time to the next gateway; phones try again after a 503, as an app does.
//! Whatever may not be is noted, not asserted, so that a test can tell all of it, with what the gateways say.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::gateway::{Browser, Phone, token};
use crate::support::{EventStream, Site};

/// How long anybody may be refused, or left on a stale state, before that is a fault: a failover, and some more.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after its confirmation a browser may get the JWT, whatever breaks in between.
const IN_TIME: Duration = Duration::from_secs(12);
/// How long whoever was refused or sent away waits. Real ones wait for seconds.
const PAUSE: Duration = Duration::from_millis(100);

/// The people at a site. Ends them when dropped.
pub struct Crowd {
    ledger: Arc<Ledger>,
    people: JoinSet<()>,
}

/// What happened to the people.
#[derive(Default)]
struct Ledger {
    is_over: AtomicBool,
    begun_anew: AtomicUsize,
    refusals: Mutex<Vec<(Instant, &'static str)>>,
    /// When a confirmation was acknowledged, and when the JWT came; in any order.
    sign_ins: Mutex<Vec<(Instant, Instant)>>,
    faults: Mutex<Vec<String>>,
}

impl Crowd {
    /// Has `people` begin to sign in.
    pub fn of(people: usize, site: &Arc<Site>) -> Self {
        let ledger = Arc::<Ledger>::default();
        let mut tasks = JoinSet::new();
        for number in 0..people {
            let person = Person::new(number, Arc::clone(site), Arc::clone(&ledger));
            tasks.spawn(person.sign_in_again_and_again());
        }
        Self { ledger, people: tasks }
    }

    /// Waits until `count` more of them have signed in.
    pub async fn more(&self, count: usize) {
        let signed_in = || self.ledger.sign_ins.lock().unwrap().len();
        let (before, started) = (signed_in(), Instant::now());
        while signed_in() < before + count && started.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets everybody finish; fails if anything was lost. Tells what it was like for them since `broken`.
    pub async fn end(self, what: &str, broken: Instant) {
        self.ledger.is_over.store(true, Relaxed);
        self.people.join_all().await;
        let ledger = &self.ledger;
        let sign_ins = ledger.sign_ins.lock().unwrap();
        let refusals = ledger.refusals.lock().unwrap();
        let mut acknowledged: Vec<_> = sign_ins.iter().map(|&(acknowledged, _)| acknowledged).collect();
        acknowledged.sort_unstable();
        let gap = acknowledged.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        let since = |at: Instant| at.saturating_duration_since(broken);
        let first = acknowledged.iter().find(|&&at| at > broken + Duration::from_millis(50));
        let mut waits: Vec<_> = sign_ins.iter().map(|&(sent, came)| came.saturating_duration_since(sent)).collect();
        waits.sort_unstable();
        let count = |step: &str| refusals.iter().filter(|(_, refused)| *refused == step).count();
        println!(
            "{what}: {} sign-ins, {} begun anew; refused {} creates, {} scans, {} confirms, {} streams, the last one {:.1?} after; \
             first confirmed again {:.1?} after, longest pause {gap:.1?}; from confirmed to JWT p50 {:.0?}, max {:.1?}",
            sign_ins.len(),
            ledger.begun_anew.load(Relaxed),
            count("create"),
            count("scan"),
            count("confirm"),
            count("events"),
            refusals.iter().map(|&(at, _)| since(at)).max().unwrap_or_default(),
            first.map(|&at| since(at)).unwrap_or_default(),
            waits.get(waits.len() / 2).copied().unwrap_or_default(),
            waits.last().copied().unwrap_or_default(),
        );
        let faults = ledger.faults.lock().unwrap();
        assert!(faults.is_empty(), "{what}: {} faults\n{}", faults.len(), faults.join("\n"));
        assert!(acknowledged.last().is_some_and(|&at| at > broken), "{what}: nobody signed in afterwards");
        assert!(gap < PATIENCE, "{what}: nobody signed in for {gap:?}");
        let longest = waits.last().copied().unwrap_or_default();
        assert!(longest < IN_TIME, "{what}: a confirmed browser was told nothing for {longest:?}");
    }
}

/// How a ticket ended for one of its parties.
enum Ending {
    /// The phone's confirmation was acknowledged.
    Acknowledged(Instant),
    /// The browser got the JWT, for this subject and with this id.
    Delivered { at: Instant, subject: String, jti: String },
    /// The ticket is not there any more.
    Gone,
    /// What may not be.
    Fault(String),
}

/// One person with a browser and a phone.
struct Person {
    number: usize,
    site: Arc<Site>,
    ledger: Arc<Ledger>,
    browsers: Vec<Browser>,
    http: reqwest::Client,
}

impl Person {
    fn new(number: usize, site: Arc<Site>, ledger: Arc<Ledger>) -> Self {
        let browser = Browser::new(&site.gateways[0]);
        let browsers = site.gateways.iter().map(|gateway| browser.at(gateway)).collect();
        Self { number, site, ledger, browsers, http: reqwest::Client::new() }
    }

    async fn sign_in_again_and_again(self) {
        for round in 0.. {
            if self.ledger.is_over.load(Relaxed) {
                return;
            }
            self.sign_in(self.number + round, &format!("person-{}-{round}", self.number)).await;
        }
    }

    /// Signs in once, with gateways from `turn` on.
    async fn sign_in(&self, turn: usize, subject: &str) {
        let made = self.insist("create", || async {
            let request = self.browser(turn).request(Method::POST, "/v1/tickets").json(&json!({}));
            request.send().await.unwrap()
        });
        let Some(response) = made.await.filter(|response| response.status() == StatusCode::CREATED) else {
            return self.note(format!("{subject} got no ticket"));
        };
        let ticket: Value = response.json().await.unwrap();
        let id = ticket["ticket_id"].as_str().unwrap();
        let (phone, browser) = tokio::join!(self.approve(turn, subject, id), self.wait(turn, id));
        let fault = match (phone, browser) {
            (Ending::Acknowledged(acknowledged), Ending::Delivered { at, subject: delivered, jti }) => {
                self.ledger.sign_ins.lock().unwrap().push((acknowledged, at));
                match self.fetch_again(turn, id).await {
                    Ending::Delivered { jti: again, .. } if delivered == subject && jti == again => return,
                    Ending::Delivered { jti: again, subject: other, .. } => {
                        format!("{delivered} and {other} instead of one, ids {jti} and {again}")
                    }
                    Ending::Fault(why) => format!("the JWT is not delivered again: {why}"),
                    _ => "the JWT is not delivered again: the ticket has gone".to_owned(),
                }
            }
            (Ending::Gone, Ending::Gone) => {
                // It was lost before anybody had acknowledged anything but its making.
                self.ledger.begun_anew.fetch_add(1, Relaxed);
                return;
            }
            (Ending::Acknowledged(_), Ending::Gone) => "ACKNOWLEDGED, but expired for the browser".to_owned(),
            (Ending::Fault(why), Ending::Fault(too)) => format!("{why}; {too}"),
            (Ending::Fault(why), _) | (_, Ending::Fault(why)) => why,
            (Ending::Gone, _) => "delivered, but gone for the phone".to_owned(),
            _ => unreachable!(),
        };
        self.note(format!("{subject}, ticket {id}: {fault}{}", self.site.log_of(id)));
    }

    /// Plays the phone.
    async fn approve(&self, turn: usize, subject: &str, id: &str) -> Ending {
        let token = token(subject);
        let phone = |step: usize| {
            let base = &self.site.gateway(turn + step).base;
            Phone::through(self.http.clone(), base, token.clone())
        };
        let act = async |step: usize, action: &'static str| {
            think().await;
            let Some(response) = self.insist(action, || async { phone(step).act(id, action).await }).await else {
                return Err(Ending::Fault(format!("{action} was refused all the time")));
            };
            match response.status() {
                StatusCode::OK => Ok(()),
                StatusCode::NOT_FOUND if action == "scan" => Err(Ending::Gone),
                status => {
                    let text = response.text().await.unwrap();
                    Err(Ending::Fault(format!("{action} was answered with {status} {text}")))
                }
            }
        };
        let both = async {
            act(1, "scan").await?;
            act(2, "confirm").await
        };
        both.await.map_or_else(|ending| ending, |()| Ending::Acknowledged(Instant::now()))
    }

    /// Plays the browser, until the JWT is there or the ticket is gone. Every other one is impatient: it comes back to
    /// another gateway in the middle.
    async fn wait(&self, turn: usize, id: &str) -> Ending {
        let mut seen: Option<String> = None;
        let ends_at = Instant::now() + PATIENCE * 2;
        for connection in 0.. {
            if Instant::now() > ends_at {
                break;
            }
            let response = self.open(turn + connection, id, seen.as_deref()).await;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Ending::Gone,
                status => return Ending::Fault(format!("the stream was answered with {status}")),
            }
            let mut events = EventStream::new(response);
            let mut is_first = true;
            loop {
                let Ok(next) = tokio::time::timeout(PATIENCE, events.next_ever()).await else {
                    return Ending::Fault(format!("the browser was told nothing after revision {seen:?}"));
                };
                let Some(frame) = next else {
                    if is_first {
                        self.refused("events");
                    }
                    break;
                };
                match frame.event.as_str() {
                    "pending" | "scanned" => seen = Some(frame.id),
                    "confirmed" => {
                        let token = frame.data["token"]["access_token"].as_str().unwrap();
                        let (subject, jti) = self.site.read(token);
                        return Ending::Delivered { at: Instant::now(), subject, jti };
                    }
                    "expired" => return Ending::Gone,
                    other => return Ending::Fault(format!("the browser was told {other}")),
                }
                is_first = false;
                if connection == 0 && turn.is_multiple_of(2) && frame.event == "scanned" {
                    break;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ending::Fault("the browser came back again and again".to_owned())
    }

    /// Has the JWT delivered again, as to a browser whose connection broke before it had read it.
    async fn fetch_again(&self, turn: usize, id: &str) -> Ending {
        let ends_at = Instant::now() + PATIENCE;
        for gateway in turn + 1.. {
            if Instant::now() > ends_at {
                break;
            }
            let response = self.open(gateway, id, Some("1")).await;
            if response.status() != StatusCode::OK {
                return Ending::Fault(format!("the stream was answered with {}", response.status()));
            }
            match tokio::time::timeout(PATIENCE, EventStream::new(response).next_ever()).await {
                Ok(Some(frame)) if frame.event == "confirmed" => {
                    let (subject, jti) = self.site.read(frame.data["token"]["access_token"].as_str().unwrap());
                    return Ending::Delivered { at: Instant::now(), subject, jti };
                }
                Ok(Some(frame)) => return Ending::Fault(format!("the browser was told {}", frame.event)),
                Ok(None) | Err(_) => self.refused("events"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ending::Fault("the browser came back again and again".to_owned())
    }

    async fn open(&self, turn: usize, id: &str, seen: Option<&str>) -> Response {
        let request = self.browser(turn).request(Method::GET, &format!("/v1/tickets/{id}/events"));
        let request = seen.into_iter().fold(request, |request, seen| request.header("last-event-id", seen));
        request.send().await.unwrap()
    }

    fn browser(&self, turn: usize) -> &Browser {
        &self.browsers[turn % self.browsers.len()]
    }

    /// Asks again while the answer is 503.
    async fn insist<F: Future<Output = Response>>(&self, step: &'static str, ask: impl Fn() -> F) -> Option<Response> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let response = ask().await;
            if response.status() != StatusCode::SERVICE_UNAVAILABLE {
                return Some(response);
            }
            self.refused(step);
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    fn refused(&self, step: &'static str) {
        self.ledger.refusals.lock().unwrap().push((Instant::now(), step));
    }

    fn note(&self, fault: String) {
        self.ledger.faults.lock().unwrap().push(fault);
    }
}

/// People take their time, each another one.
async fn think() {
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..300))).await;
}
