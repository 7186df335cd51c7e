//! Runs the real code in every order of its store operations, with a store that fails once, before or after the operation took
//! effect.
//!
//! Each run has several simultaneous requests. A request stops before each operation of the store. The explorer chooses
//! the request that continues, and whether its operation fails. It tries all choices.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::store::{Put, Reading, Replaced, StoreError};
use crate::ticket::{NewTicket, Ticket};

/// How the next operation of the store ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// It fails and has no effect.
    Before,
    /// It takes effect, and its reply is lost.
    After,
}

/// A store whose operations each wait for one poll, and fail as the explorer says.
struct Stepped {
    inner: Arc<dyn Store>,
    fault: Mutex<Fault>,
    is_stepping: Mutex<bool>,
}

/// Is ready at the second poll.
struct OnePoll(bool);

impl Future for OnePoll {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Stepped {
    async fn step<T>(&self, operation: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        let is_stepping = *self.is_stepping.lock().unwrap();
        if is_stepping {
            OnePoll(false).await;
        }
        let fault = std::mem::replace(&mut *self.fault.lock().unwrap(), Fault::None);
        let result = if fault == Fault::Before { None } else { Some(operation.await) };
        match (fault, result) {
            (Fault::None, Some(result)) => result,
            _ => Err(StoreError::Unavailable("as the test wants it".to_owned())),
        }
    }
}

#[async_trait]
impl Store for Stepped {
    async fn put_value(&self, name: &str, value: &str, ttl: Duration, put: Put) -> Result<bool, StoreError> {
        self.step(self.inner.put_value(name, value, ttl, put)).await
    }

    async fn replace_value(&self, name: &str, expected: &str, next: &str, ttl: Duration) -> Result<bool, StoreError> {
        self.step(self.inner.replace_value(name, expected, next, ttl)).await
    }

    async fn value(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.step(self.inner.value(name)).await
    }

    async fn remove_value(&self, name: &str) -> Result<(), StoreError> {
        self.step(self.inner.remove_value(name)).await
    }

    async fn create(&self, _new: NewTicket) -> Result<Reading, StoreError> {
        unreachable!("no tickets here")
    }

    async fn get(&self, _id: &TicketId) -> Result<Option<Reading>, StoreError> {
        unreachable!("no tickets here")
    }

    async fn replace(&self, _current: &Ticket, _next: &Ticket) -> Result<Replaced, StoreError> {
        unreachable!("no tickets here")
    }

    async fn watch(&self, _id: &TicketId) -> Result<(), StoreError> {
        Ok(())
    }

    fn unwatch(&self, _id: &TicketId) {}

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Goes through all sequences of choices: like an odometer whose wheels appear as the run asks for them.
#[derive(Default)]
struct Choices {
    /// The choice, and the number of options, at each point of the last run.
    made: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    fn choose(&mut self, options: usize) -> usize {
        if self.next == self.made.len() {
            self.made.push((0, options));
        }
        let (choice, known) = self.made[self.next];
        assert_eq!(known, options, "the run depends on more than its choices");
        self.next += 1;
        choice
    }

    /// Goes on to the next sequence. Returns false after the last one.
    fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((choice, options)) = self.made.pop() {
            if choice + 1 < options {
                self.made.push((choice + 1, options));
                return true;
            }
        }
        false
    }
}

type Request<'a> = Pin<Box<dyn Future<Output = Result<Tokens, ExchangeError>> + 'a>>;

/// Runs the requests in the order that the choices say, with at most `faults` faults of the store. Returns their results.
fn run(
    store: &Stepped,
    requests: Vec<Request<'_>>,
    choices: &mut Choices,
    mut faults: usize,
) -> Vec<Result<Tokens, ExchangeError>> {
    let mut results: Vec<Option<Result<Tokens, ExchangeError>>> = requests.iter().map(|_| None).collect();
    let mut requests = requests;
    let poll = |request: &mut Request<'_>| request.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    // Each request goes on to its first operation.
    for (request, result) in requests.iter_mut().zip(&mut results) {
        if let Poll::Ready(done) = poll(request) {
            *result = Some(done);
        }
    }
    loop {
        let waiting: Vec<usize> = (0..results.len()).filter(|index| results[*index].is_none()).collect();
        if waiting.is_empty() {
            return results.into_iter().flatten().collect();
        }
        let kinds = if faults > 0 { 3 } else { 1 };
        let choice = choices.choose(waiting.len() * kinds);
        let fault = [Fault::None, Fault::Before, Fault::After][choice % kinds];
        faults -= usize::from(fault != Fault::None);
        *store.fault.lock().unwrap() = fault;
        let index = waiting[choice / kinds];
        if let Poll::Ready(done) = poll(&mut requests[index]) {
            results[index] = Some(done);
        }
    }
}

/// A provider on a new stepped store.
fn stepped(signer: &OpenIdProvider) -> (Arc<Stepped>, OpenIdProvider) {
    let store = Arc::new(Stepped { inner: memory(), fault: Mutex::new(Fault::None), is_stepping: Mutex::new(false) });
    let provider = OpenIdProvider { store: Arc::clone(&store) as _, ..signer.clone() };
    (store, provider)
}

fn set_stepping(store: &Stepped, is_stepping: bool) {
    *store.is_stepping.lock().unwrap() = is_stepping;
}

#[tokio::test]
async fn in_every_order_a_code_has_one_winner_and_a_replay_ends_what_it_got() {
    assert!(use_a_code_in_every_order(2, 0).await >= 20);
    assert!(use_a_code_in_every_order(2, 1).await >= 200);
}

#[tokio::test]
#[ignore = "takes minutes; tests/run --soak"]
async fn in_every_order_of_three_uses_a_code_has_one_winner() {
    assert!(use_a_code_in_every_order(3, 0).await >= 100_000);
}

/// Returns the number of runs.
async fn use_a_code_in_every_order(uses: usize, faults: usize) -> usize {
    let signer = open(memory(), "ES256");
    let (mut choices, mut runs, mut with_tokens) = (Choices::default(), 0, 0);
    loop {
        let (store, provider) = stepped(&signer);
        let (app, code) = (client(&provider, "app"), issued(&provider).await);
        set_stepping(&store, true);
        let exchange = |_| Box::pin(provider.exchange_code(&app, presented(&code))) as Request<'_>;
        let results = run(&store, (0..uses).map(exchange).collect(), &mut choices, faults);
        set_stepping(&store, false);
        let won: Vec<Tokens> = results.into_iter().filter_map(Result::ok).collect();
        assert!(won.len() <= 1, "two winners: {:?}", choices.made);
        with_tokens += won.len();
        // One more use: of a code that nobody has used, or a replay. A replay leaves nothing alive.
        let last = provider.exchange_code(&app, presented(&code)).await;
        assert!(won.is_empty() || last.is_err(), "used again: {:?}", choices.made);
        for tokens in won {
            assert!(!is_alive(&provider, &tokens).await, "alive after a replay: {:?}", choices.made);
            let refreshed = provider.refresh(&app, tokens.refresh_token.as_deref().unwrap(), None).await;
            assert_eq!(refused(refreshed), "invalid_grant", "{:?}", choices.made);
        }
        runs += 1;
        if !choices.advance() {
            break;
        }
    }
    println!("{uses} uses, {faults} faults: {runs} runs, {with_tokens} with tokens");
    assert!(with_tokens > runs / 2);
    runs
}

#[tokio::test]
async fn in_every_order_refreshes_agree_on_one_successor_which_works() {
    let signer = open(memory(), "ES256");
    for (count, faults) in [(2, 1), (3, 0)] {
        let (mut choices, mut runs) = (Choices::default(), 0);
        loop {
            let (store, provider) = stepped(&signer);
            let (app, first) = (client(&provider, "app"), exchanged(&provider).await.refresh_token.unwrap());
            set_stepping(&store, true);
            let refresh = |_| Box::pin(provider.refresh(&app, &first, None)) as Request<'_>;
            let results = run(&store, (0..count).map(refresh).collect(), &mut choices, faults);
            set_stepping(&store, false);
            let mut successors = std::collections::BTreeSet::new();
            for result in results {
                match result {
                    Ok(tokens) => drop(successors.insert(tokens.refresh_token.unwrap())),
                    Err(ExchangeError::Store(_)) => assert_eq!(faults, 1, "{:?}", choices.made),
                    Err(error) => panic!("{error} {:?}", choices.made),
                }
            }
            // A client that got no answer asks again, and gets the same as the others.
            successors.insert(provider.refresh(&app, &first, None).await.unwrap().refresh_token.unwrap());
            assert_eq!(successors.len(), 1, "{:?}", choices.made);
            provider.refresh(&app, successors.first().unwrap(), None).await.unwrap();
            runs += 1;
            if !choices.advance() {
                break;
            }
        }
        println!("{count} refreshes, {faults} faults: {runs} runs");
        assert!(runs >= 40, "{runs}");
    }
}

#[tokio::test]
async fn in_every_order_nothing_is_alive_after_a_replay_among_refreshes() {
    let signer = open(memory(), "ES256");
    let (mut choices, mut runs) = (Choices::default(), 0);
    loop {
        let (store, provider) = stepped(&signer);
        let (app, code) = (client(&provider, "app"), issued(&provider).await);
        let tokens = provider.exchange_code(&app, presented(&code)).await.unwrap();
        let first = tokens.refresh_token.clone().unwrap();
        set_stepping(&store, true);
        let requests: Vec<Request<'_>> = vec![
            Box::pin(provider.exchange_code(&app, presented(&code))),
            Box::pin(provider.refresh(&app, &first, None)),
            Box::pin(provider.refresh(&app, &first, None)),
        ];
        let results = run(&store, requests, &mut choices, 0);
        set_stepping(&store, false);
        assert!(results[0].is_err());
        for got in results.into_iter().flatten().chain([tokens]) {
            assert!(!is_alive(&provider, &got).await, "{:?}", choices.made);
            let refreshed = provider.refresh(&app, got.refresh_token.as_deref().unwrap(), None).await;
            assert_eq!(refused(refreshed), "invalid_grant", "{:?}", choices.made);
        }
        runs += 1;
        if !choices.advance() {
            break;
        }
    }
    println!("{runs} runs");
    assert!(runs > 200, "{runs}");
}
