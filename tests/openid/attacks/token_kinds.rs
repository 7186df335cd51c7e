//! One kind of token instead of another, and tokens whose header says how to check them (RFC 8725, RFC 9068 §5).

use std::net::TcpListener;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::Gateway;
use crate::support::gateway::{Browser, Phone, token, verified_claims};
use crate::support::openid::{Answer, App, Screen, claims, gateway, header, refused, userinfo};

/// One token of each kind that there is, all of Ada and for the client `notes`.
async fn kinds(gateway: &Gateway, notes: &App) -> Vec<(&'static str, String)> {
    let tokens = notes.sign_in(gateway, "ada").await;
    let request = notes.request();
    let code = Screen::new(gateway).sign_in(&request.query(), &Phone::of("ada", gateway)).await.code().to_owned();
    let browser = Browser::new(gateway);
    let ticket = browser.create_with(json!({"client_id": "notes"})).await["ticket_id"].as_str().unwrap().to_owned();
    Phone::of("ada", gateway).approve(&ticket).await;
    let handed_over: Value = browser.read(&ticket).await.json().await.unwrap();
    vec![
        ("access", tokens.access),
        ("id", tokens.id),
        ("refresh", tokens.refresh.unwrap()),
        ("code", code),
        ("jwt", handed_over["token"]["access_token"].as_str().unwrap().to_owned()),
        ("provider", token("ada")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kind_of_token_stands_for_another() {
    let notes = App::new("notes").with("refresh_tokens = \"always\"");
    let gateway = gateway(&[&notes]).await;
    let http = reqwest::Client::new();
    let kinds = kinds(&gateway, &notes).await;
    // The only kind of token that each place accepts.
    for (place, good) in [("userinfo", "access"), ("verify", "jwt"), ("hint", "id"), ("scan", "provider")] {
        for (kind, token) in &kinds {
            let is_taken = match place {
                "userinfo" => userinfo(&gateway, token).await.status() == StatusCode::OK,
                "verify" => {
                    let verify = http.get(gateway.url("/v1/verify?client_id=notes"));
                    let by_bearer = verify.try_clone().unwrap().bearer_auth(token).send().await.unwrap();
                    let cookie = format!("scangate-session={token}");
                    let by_cookie = verify.header("cookie", cookie).send().await.unwrap();
                    assert_eq!(by_bearer.status(), by_cookie.status(), "{kind}");
                    by_bearer.status() == StatusCode::NO_CONTENT
                }
                "hint" => {
                    let query = notes.request().set("prompt", "none").set("id_token_hint", token).query();
                    let answer = Answer::of(Screen::new(&gateway).arrive(&query).await).await;
                    assert!(["login_required", "invalid_request"].contains(&answer.field("error")), "{answer:?}");
                    answer.field("error") == "login_required"
                }
                _ => {
                    let ticket = Screen::new(&gateway).ticket(&notes.request().query()).await;
                    let phone = Phone::with_token(token.clone(), &gateway);
                    phone.act(&ticket, "scan").await.status() == StatusCode::OK
                }
            };
            assert_eq!(is_taken, *kind == good, "{kind} at {place}");
        }
    }
    for (kind, token) in &kinds {
        let redeemed = http.post(gateway.url("/v1/redeem?client_id=notes")).bearer_auth(token).send().await.unwrap();
        assert_eq!(redeemed.status() == StatusCode::NO_CONTENT, *kind == "jwt", "{kind}");
        let said = notes.introspect(&gateway, token).await;
        assert_eq!(said["active"] == true, ["access", "refresh"].contains(kind), "{kind}: {said}");
        if *kind != "code" {
            let outcome = refused(notes.exchange(&gateway, token, &notes.request()).await).await;
            assert_eq!(outcome, (400, "invalid_grant".to_owned()), "{kind} as code");
        }
        if *kind != "refresh" {
            let outcome = refused(notes.refresh(&gateway, token).await).await;
            assert_eq!(outcome, (400, "invalid_grant".to_owned()), "{kind} as refresh token");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_believed_by_what_its_header_says() {
    let (rsa, ec, ed) = (
        App::new("rsa").with("signing_alg = \"RS256\""),
        App::new("ec").with("signing_alg = \"ES256\""),
        App::new("ed").with("signing_alg = \"EdDSA\""),
    );
    let gateway = gateway(&[&rsa, &ec, &ed]).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let here = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let jwks: Value = reqwest::get(gateway.url("/.well-known/jwks.json")).await.unwrap().json().await.unwrap();
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    for app in [&rsa, &ec, &ed] {
        let tokens = app.sign_in(&gateway, "ada").await;
        for (token, audience) in
            [(&tokens.access, format!("{}/oauth2/userinfo", gateway.public_url)), (&tokens.id, app.id.to_owned())]
        {
            verified_claims(&gateway, token, &audience).await;
            let signature = token.rsplit('.').next().unwrap();
            let body = claims(token);
            let own = header(token);
            let mut forged = Vec::new();
            // No signature, and another algorithm beside the old one.
            for alg in ["none", "None", "HS256", "RS256", "ES256", "EdDSA", "PS256"] {
                let mut header = own.clone();
                if header["alg"] != alg {
                    header["alg"] = alg.into();
                    forged.push(format!("{}.{}.", encode(&header), encode(&body)));
                    forged.push(format!("{}.{}.{signature}", encode(&header), encode(&body)));
                }
            }
            // The key of another algorithm; none; one that is to be fetched; an extension that must be understood.
            let kids = jwks["keys"].as_array().unwrap().iter().map(|key| &key["kid"]);
            let mut members: Vec<_> = kids.filter(|kid| **kid != own["kid"]).map(|kid| ("kid", kid.clone())).collect();
            members.extend([
                ("kid", json!("../../keys")),
                ("jku", json!(here)),
                ("x5u", json!(here)),
                ("crit", json!(["exp"])),
                ("typ", json!("other")),
            ]);
            for (name, value) in members {
                let mut header = own.clone();
                header[name] = value;
                forged.push(format!("{}.{}.{signature}", encode(&header), encode(&body)));
            }
            // A published key as a shared secret.
            for key in jwks["keys"].as_array().unwrap() {
                let secrets = [key.to_string(), key["n"].to_string(), key["x"].to_string()];
                let header = Header {
                    typ: own["typ"].as_str().map(str::to_owned),
                    kid: key["kid"].as_str().map(str::to_owned),
                    ..Header::new(Algorithm::HS256)
                };
                for secret in secrets {
                    let key = EncodingKey::from_secret(secret.as_bytes());
                    forged.push(jsonwebtoken::encode(&header, &body, &key).unwrap());
                }
            }
            // Another person beside the old signature; a signature with one bit off.
            let mut changed = body.clone();
            changed["sub"] = "eve".into();
            forged.push(format!("{}.{}.{signature}", encode(&own), encode(&changed)));
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
            bytes[0] ^= 1;
            let (signed, _) = token.rsplit_once('.').unwrap();
            forged.push(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)));
            for forged in forged {
                let answer = userinfo(&gateway, &forged).await;
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{} {forged}", app.id);
                let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
                assert!(challenge.starts_with("Bearer ") && challenge.contains("invalid_token"), "{challenge}");
                let query = app.request().set("prompt", "none").set("id_token_hint", &forged).query();
                let answer = Answer::of(Screen::new(&gateway).arrive(&query).await).await;
                assert_eq!(answer.field("error"), "invalid_request", "{} {forged}", app.id);
                assert_eq!(app.introspect(&gateway, &forged).await, json!({"active": false}));
            }
        }
    }
    let fetched = listener.accept().map_err(|error| error.kind());
    assert_eq!(fetched.err(), Some(std::io::ErrorKind::WouldBlock), "somebody fetched a key");
}
