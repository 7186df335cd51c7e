//! Codes and refresh tokens while Redis changes a primary: acknowledged writes are kept, and nothing is issued twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use reqwest::{Response, StatusCode};
use tokio::sync::{Notify, watch};
use tokio::task::{block_in_place, spawn_blocking};

use crate::support::gateway::Phone;
use crate::support::openid::{App, Request, Screen, Tokens, builder, refused, userinfo};
use crate::support::{Cluster, Gateway, Sentinels};

/// How many codes are used before the failover, and how many while it happens: half of those are begun with the primary, the
/// others when it is lost.
const EACH: usize = 24;

struct SignIn {
    request: Request,
    code: String,
}

/// Brings a person to the app with a code.
async fn sign_in(gateway: &Gateway, notes: &App) -> SignIn {
    let request = notes.request();
    let answer = Screen::new(gateway).sign_in(&request.query(), &Phone::of("ada", gateway)).await;
    SignIn { code: answer.code().to_owned(), request }
}

/// Sends a request, again and again while the store cannot be reached. Returns the answer, and how often there was none.
async fn insist(send: impl AsyncFn() -> Response) -> (Response, usize) {
    let mut refusals = 0;
    loop {
        let response = send().await;
        if response.status() != StatusCode::SERVICE_UNAVAILABLE {
            return (response, refusals);
        }
        assert!(response.headers().contains_key("retry-after"));
        assert_eq!(refused(response).await.1, "temporarily_unavailable");
        refusals += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Exchanges a code. Returns the tokens, or none if the code is refused; and how often there was no answer.
async fn exchange(gateway: &Gateway, notes: &App, sign_in: &SignIn) -> (Option<Tokens>, usize) {
    let (response, refusals) = insist(async || notes.exchange(gateway, &sign_in.code, &sign_in.request).await).await;
    if response.status() == StatusCode::OK {
        return (Some(Tokens::of(response).await), refusals);
    }
    assert_eq!(refused(response).await, (400, "invalid_grant".to_owned()));
    (None, refusals)
}

/// Uses codes and refresh tokens on this Redis while `lose` kills a primary, says so, and waits for another one.
async fn nothing_is_lost_or_issued_twice<T: Send + 'static>(
    url: &str,
    lose: impl FnOnce(watch::Sender<bool>) -> T + Send + 'static,
) {
    let notes = App::new("notes").with("refresh_tokens = \"always\"").with("signing_alg = \"ES256\"");
    let (_folder, builder) = builder(&[&notes]);
    let builder = builder.arg("--redis-url", url).arg("--redis-timeout", "2s");
    let [gateway, other] = [builder.clone().start().await, builder.start().await];

    // Only a few together: if all sign in together, a busy machine does not answer in time.
    let sign_ins = || stream::iter(0..EACH).map(|_| sign_in(&gateway, &notes)).buffered(4).collect::<Vec<_>>();
    let (before, during) = (sign_ins().await, sign_ins().await);
    let mut rotated = Vec::new();
    for used in &before {
        let first = exchange(&gateway, &notes, used).await.0.unwrap();
        rotated.push(Tokens::of(notes.refresh(&other, &first.refresh.unwrap()).await).await);
    }

    // The first tokens are the sign to kill the primary: so some codes are being used then.
    let ((lost, is_lost), first) = (watch::channel(false), Notify::new());
    let (with, without, refusals) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let use_one = async |number: usize| {
        if number >= EACH / 2 {
            is_lost.clone().wait_for(|lost| *lost).await.unwrap();
        }
        let (tokens, refused) = exchange(&other, &notes, &during[number]).await;
        refusals.fetch_add(refused, Ordering::Relaxed);
        if tokens.is_some() {
            if *is_lost.borrow() { &without } else { &with }.fetch_add(1, Ordering::Relaxed);
            first.notify_one();
        }
        tokens
    };
    let failover = async {
        first.notified().await;
        spawn_blocking(|| lose(lost)).await.unwrap()
    };
    let (tokens, _redis) = tokio::join!(join_all((0..EACH).map(use_one)), failover);
    let [with, without, refusals] = [with, without, refusals].map(AtomicUsize::into_inner);
    println!("of {EACH} codes {with} gave tokens with the primary, {without} afterwards, after {refusals} refusals");
    assert!(with > 0 && without > 0, "no code was used on both sides of the failover");
    assert!(refusals > 0, "nothing was asked of the lost primary");

    // The store has each acknowledged rotation: the newest token is the current one.
    for tokens in &rotated {
        let told = insist(async || userinfo(&gateway, &tokens.access).await).await.0;
        assert_eq!(told.status(), StatusCode::OK);
        let refresh = tokens.refresh.as_deref().unwrap();
        let next = insist(async || notes.refresh(&gateway, refresh).await).await.0;
        assert_eq!(next.status(), StatusCode::OK, "a rotation was lost");
    }
    // No code gives tokens a second time, at any gateway, and the second use ends the tokens of the first one.
    let ended = rotated.iter().map(Some).chain(tokens.iter().map(Option::as_ref));
    for (used, tokens) in before.iter().chain(&during).zip(ended) {
        assert!(exchange(&gateway, &notes, used).await.0.is_none(), "a code was used twice");
        if let Some(tokens) = tokens {
            let told = insist(async || userinfo(&other, &tokens.access).await).await.0;
            assert_eq!(told.status(), StatusCode::UNAUTHORIZED);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_stays_used_and_a_refresh_token_stays_rotated_when_the_primary_is_lost() {
    let mut redis = block_in_place(Sentinels::start);
    let url = redis.url();
    let lose = move |lost: watch::Sender<bool>| {
        let old = redis.primary();
        redis.node_mut(old).kill();
        lost.send_replace(true);
        redis.wait_for_new_primary(old);
        redis
    };
    nothing_is_lost_or_issued_twice(&url, lose).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_stays_used_and_a_refresh_token_stays_rotated_when_a_cluster_loses_a_primary() {
    let mut cluster = block_in_place(Cluster::start);
    let url = cluster.url();
    let lose = move |lost: watch::Sender<bool>| {
        cluster.kill(0);
        lost.send_replace(true);
        cluster.wait_for_new_primary(0, 0);
        cluster
    };
    nothing_is_lost_or_issued_twice(&url, lose).await;
}
