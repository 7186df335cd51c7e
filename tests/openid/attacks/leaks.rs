//! Places in which others could read codes, tokens and secrets: logs, metrics, the store (RFC 9700 §4.2.4, §4.3).

use crate::support::gateway::Phone;
use crate::support::openid::{Answer, App, Screen, Tokens, builder, cookie, userinfo};
use crate::support::{Gateway, Redis};

/// A whole sign-in with everything that it issues, and failed attempts with the same values.
struct SignIn {
    /// The values that give access to something.
    secrets: Vec<String>,
    /// The values that only the app needs: they may be in the ticket.
    of_the_app: [String; 2],
}

impl SignIn {
    async fn play(gateway: &Gateway, notes: &App) -> Self {
        let screen = Screen::new(gateway);
        let request = notes.request();
        let verifier = request.verifier.clone().unwrap();
        let page = screen.arrive(&request.query()).await;
        assert!(page.status().is_success());
        let ticket = screen.ticket(&request.query()).await;
        Phone::of("ada", gateway).approve(&ticket).await;
        let done = screen.done(&ticket).await;
        let session = cookie(&done, "scangate-sso").unwrap();
        let code = Answer::of(done).await.code().to_owned();
        let first = Tokens::of(notes.exchange(gateway, &code, &request).await).await;
        let second = Tokens::of(notes.refresh(gateway, first.refresh.as_deref().unwrap()).await).await;
        let silent = notes.request().set("prompt", "none").set("id_token_hint", &first.id);
        let silent = Answer::of(screen.arrive(&silent.query()).await).await;
        userinfo(gateway, &second.access).await;
        notes.introspect(gateway, &second.access).await;
        // Bad attempts must not be quoted either: a code twice, tokens in the wrong place, a secret that nearly fits.
        notes.exchange(gateway, &code, &request).await;
        userinfo(gateway, &second.id).await;
        userinfo(gateway, &format!("{}x", second.access)).await;
        notes.refresh(gateway, &format!("{}x", second.refresh.as_deref().unwrap())).await;
        let mut almost = notes.clone();
        almost.secret = notes.secret.as_ref().map(|secret| format!("x{secret}"));
        almost.refresh(gateway, second.refresh.as_deref().unwrap()).await;
        screen.open(&format!("/oauth2/logout?id_token_hint={}", second.id), "cross-site").await;
        let mut secrets = vec![code, silent.code().to_owned(), session, verifier, notes.secret.clone().unwrap()];
        secrets.extend([first.access, first.id, second.access, second.id]);
        for refresh in [first.refresh, second.refresh] {
            let refresh = refresh.unwrap();
            let parts: Vec<_> = refresh.split('.').map(str::to_owned).collect();
            secrets.extend([parts[0].clone(), parts[2].clone()]);
        }
        Self { secrets, of_the_app: [request.value("state"), request.value("nonce")] }
    }
}

fn notes() -> App {
    App::new("notes").with("single_sign_on = true").with("refresh_tokens = \"always\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_code_token_or_secret_is_in_a_log_or_a_metric() {
    let (redis, notes) = (Redis::start(), notes());
    let (_folder, builder) = builder(&[&notes]);
    let gateway = builder.redis(&redis).arg("--log", "trace").start().await;
    let played = SignIn::play(&gateway, &notes).await;
    let (log, metrics) = (gateway.log(), gateway.metrics().await);
    for message in ["authorization code issued", "authorization code used twice", "client authentication failed"] {
        assert!(log.contains(message), "it is not said that: {message}");
    }
    for secret in played.secrets.iter().chain(&played.of_the_app) {
        // The end alone would be enough to tell.
        let end = &secret[secret.len().saturating_sub(20)..];
        for line in log.lines().chain(metrics.lines()) {
            assert!(!line.contains(end), "a secret is in: {line}");
        }
    }
}

/// Returns everything that Redis has at the moment.
fn dump(redis: &Redis) -> String {
    let values = |key: String| redis.run::<Vec<String>>(&["HVALS", &key]).join("\n") + &key;
    redis.keys().into_iter().map(values).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_holds_no_code_token_or_secret() {
    let (redis, notes) = (Redis::start(), notes());
    let (_folder, builder) = builder(&[&notes]);
    let gateway = builder.redis(&redis).start().await;
    let played = SignIn::play(&gateway, &notes).await;
    let screen = Screen::new(&gateway);
    let ticket = screen.ticket(&notes.request().query()).await;
    Phone::of("ada", &gateway).approve(&ticket).await;
    let unused = Answer::of(screen.done(&ticket).await).await.code().to_owned();
    let kept = dump(&redis);
    assert!(kept.contains("notes") && kept.contains("ada"), "it keeps something: {kept}");
    for secret in played.secrets.iter().chain([&unused]) {
        assert!(!kept.contains(secret), "{secret} is in Redis: {kept}");
    }
}
