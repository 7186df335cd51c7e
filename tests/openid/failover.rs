//! Codes and refresh tokens while Redis changes its primary: what was acknowledged is kept, and nothing is issued twice.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use tokio::task::block_in_place;

use crate::support::gateway::Phone;
use crate::support::openid::{App, Request, Screen, Tokens, builder, refused, userinfo};
use crate::support::{Gateway, Sentinels};

/// How many codes are used before the failover, and how many while it happens.
const EACH: usize = 12;

struct SignIn {
    request: Request,
    code: String,
}

/// Brings a person to the app with a code. Repeats what the store could not answer, as people do.
async fn sign_in(gateway: &Gateway, notes: &App) -> SignIn {
    let request = notes.request();
    let answer = Screen::new(gateway).sign_in(&request.query(), &Phone::of("ada", gateway)).await;
    SignIn { code: answer.code().to_owned(), request }
}

/// Exchanges a code, again and again while the store cannot be reached. Returns the tokens, or none if the code is refused.
async fn insist(gateway: &Gateway, notes: &App, sign_in: &SignIn) -> Option<Tokens> {
    loop {
        let response = notes.exchange(gateway, &sign_in.code, &sign_in.request).await;
        match response.status() {
            StatusCode::OK => return Some(Tokens::of(response).await),
            StatusCode::SERVICE_UNAVAILABLE => {
                assert!(response.headers().contains_key("retry-after"));
                assert_eq!(refused(response).await.1, "temporarily_unavailable");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            _ => {
                assert_eq!(refused(response).await, (400, "invalid_grant".to_owned()));
                return None;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_stays_used_and_a_refresh_token_stays_rotated_when_the_primary_is_lost() {
    let mut redis = block_in_place(Sentinels::start);
    let notes = App::new("notes").with("refresh_tokens = \"always\"").with("signing_alg = \"ES256\"");
    let (_folder, builder) = builder(&[&notes]);
    let builder = builder.arg("--redis-url", &redis.url()).arg("--redis-timeout", "1s");
    let [gateway, other] = [builder.clone().start().await, builder.start().await];

    let before = join_all((0..EACH).map(|_| sign_in(&gateway, &notes))).await;
    let during = join_all((0..EACH).map(|_| sign_in(&gateway, &notes))).await;
    let mut rotated = Vec::new();
    for used in &before {
        let first = insist(&gateway, &notes, used).await.unwrap();
        rotated.push(Tokens::of(notes.refresh(&other, &first.refresh.unwrap()).await).await);
    }

    let old = redis.primary();
    let exchanges = async { join_all(during.iter().map(|used| insist(&other, &notes, used))).await };
    let failover = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        block_in_place(|| {
            redis.node_mut(old).kill();
            redis.wait_for_new_primary(old);
        });
    };
    let (tokens, ()) = tokio::join!(exchanges, failover);
    let issued = tokens.iter().flatten().count();
    println!("{issued} of {EACH} codes gave tokens while the primary was lost");

    // A rotation that was acknowledged is there: the newest token is the current one.
    for tokens in &rotated {
        assert_eq!(userinfo(&gateway, &tokens.access).await.status(), StatusCode::OK);
        let next = notes.refresh(&gateway, tokens.refresh.as_deref().unwrap()).await;
        assert_eq!(next.status(), StatusCode::OK, "a rotation was lost");
    }
    // No code gives tokens a second time, wherever it was used, and the second use ends what the first one got.
    let ended = rotated.iter().map(Some).chain(tokens.iter().map(Option::as_ref));
    for (used, tokens) in before.iter().chain(&during).zip(ended) {
        assert!(insist(&gateway, &notes, used).await.is_none(), "a code was used twice");
        if let Some(tokens) = tokens {
            assert_eq!(userinfo(&other, &tokens.access).await.status(), StatusCode::UNAUTHORIZED);
        }
    }
}
