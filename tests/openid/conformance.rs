//! The checks of the official conformance suite of the OpenID Foundation. There is one test for each module of its
//! plans *Basic*,
//! *Form Post*, *Config* and *RP-initiated logout* for a client that is registered by hand. The names are the modules'. The tests
//! do not run the suite itself: it needs Java, Maven and MongoDB, and is in no registry that the tests install from.
//! The modules of *Form Post* are those of *Basic*, with another response mode.

mod basic;
mod config;
mod logout;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::Gateway;
use crate::support::gateway::{Phone, token_with, verified_claims};
use crate::support::openid::{Answer, App, Request, Screen, Tokens, gateway, header};

/// The address to which the suite's clients return after a sign-out.
const BYE: &str = "https://suite.example/bye";
/// The claims that the person has at the identity provider, by scope.
const PROFILE: [&str; 14] = [
    "name",
    "family_name",
    "given_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "updated_at",
];

/// The environment of a module: the suite's client, and a browser in which it signs people in.
struct Suite {
    gateway: Gateway,
    app: App,
    other: App,
    screen: Screen,
    /// The response mode; none to leave it out.
    mode: Option<&'static str>,
}

impl Suite {
    async fn start(mode: Option<&'static str>) -> Self {
        let scopes = "scopes = [\"openid\", \"profile\", \"email\", \"address\", \"phone\", \"offline_access\"]";
        let client = |id| {
            let app =
                App::new(id).with(scopes).with("single_sign_on = true").with("refresh_tokens = \"offline_access\"");
            app.with(&format!("post_logout_redirect_uris = [\"{BYE}\"]"))
        };
        let (app, other) = (client("suite"), client("suite-2"));
        let gateway = gateway(&[&app, &other]).await;
        let screen = Screen::new(&gateway);
        Self { gateway, app, other, screen, mode }
    }

    /// Returns a request of the suite's client: without PKCE, as most modules send it.
    fn request(&self, scope: &str) -> Request {
        self.request_of(&self.app, scope)
    }

    fn request_of(&self, app: &App, scope: &str) -> Request {
        let request = app.request().without_pkce().set("scope", scope);
        self.mode.into_iter().fold(request, |request, mode| request.set("response_mode", mode))
    }

    /// Returns the phone of a person who signed in to the identity provider at that time, in seconds since 1970.
    fn phone_of(&self, auth_time: u64) -> Phone {
        let token = token_with("ada", |claims| {
            for name in PROFILE {
                claims[name] = json!(format!("Ada's {name}"));
            }
            claims["updated_at"] = json!(1_700_000_000);
            claims["email_verified"] = json!(true);
            claims["phone_number"] = json!("+1 555 0100");
            claims["phone_number_verified"] = json!(false);
            claims["address"] = json!({"formatted": "1 Example Street", "country": "DE"});
            claims["auth_time"] = json!(auth_time);
        });
        Phone::with_token(token, &self.gateway)
    }

    /// Signs in a person who has just signed in at the identity provider, and returns the answer.
    async fn authorize(&self, request: &Request) -> Answer {
        self.authorize_as(request, &self.phone_of(now())).await
    }

    async fn authorize_as(&self, request: &Request, phone: &Phone) -> Answer {
        self.checked(request, self.screen.sign_in(&request.query(), phone).await)
    }

    /// Returns the answer that comes without a page.
    async fn answered(&self, request: &Request) -> Answer {
        let answer = Answer::of(self.screen.arrive(&request.query()).await).await;
        self.checked(request, answer)
    }

    /// Checks what every module checks: the address and the mode of the answer, `state` and `iss`.
    fn checked(&self, request: &Request, answer: Answer) -> Answer {
        assert_eq!(answer.to, request.value("redirect_uri"));
        assert_eq!(answer.is_form, self.mode == Some("form_post"));
        assert_eq!(answer.field("state"), request.value("state"));
        assert_eq!(answer.field("iss"), self.gateway.public_url);
        answer
    }

    /// Exchanges the code, and checks what every module checks in the answer and the ID token; returns its claims too.
    async fn tokens(&self, request: &Request, answer: &Answer) -> (Tokens, Value) {
        self.tokens_of(&self.app, request, answer).await
    }

    async fn tokens_of(&self, app: &App, request: &Request, answer: &Answer) -> (Tokens, Value) {
        let response = app.exchange(&self.gateway, answer.code(), request).await;
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(
            (&response.headers()["cache-control"], &response.headers()["pragma"]),
            (&"no-store".parse().unwrap(), &"no-cache".parse().unwrap())
        );
        let tokens = Tokens::of(response).await;
        assert!(tokens.whole["token_type"].as_str().unwrap().eq_ignore_ascii_case("bearer"));
        assert!(tokens.whole["expires_in"].as_u64().unwrap() > 0);
        let claims = verified_claims(&self.gateway, &tokens.id, app.id).await;
        assert_eq!(header(&tokens.id)["alg"], "RS256");
        assert_eq!((claims["iss"].as_str(), claims["aud"].as_str()), (Some(&*self.gateway.public_url), Some(app.id)));
        assert!(claims.get("azp").is_none() && claims["sub"].as_str().is_some_and(|sub| sub.len() <= 255));
        let (issued, expires) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
        assert!(issued.abs_diff(now()) < 60 && expires > now() && expires - issued <= 86_400, "{claims}");
        match request.value("nonce").as_str() {
            "" => assert_eq!(claims.get("nonce"), None),
            nonce => assert_eq!(claims["nonce"], nonce),
        }
        (tokens, claims)
    }

    /// Returns what userinfo says, asked by one of the three ways of RFC 6750.
    async fn userinfo(&self, tokens: &Tokens, way: Way) -> Value {
        let (http, url) = (reqwest::Client::new(), self.gateway.url("/oauth2/userinfo"));
        let request = match way {
            Way::Get => http.get(url).bearer_auth(&tokens.access),
            Way::PostHeader => http.post(url).bearer_auth(&tokens.access),
            Way::PostBody => http.post(url).form(&[("access_token", &tokens.access)]),
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "application/json");
        answer.json().await.unwrap()
    }

    /// Signs in with a scope, and returns the claims of the ID token and of userinfo.
    async fn claims(&self, scope: &str) -> (Value, Value) {
        let request = self.request(scope);
        let answer = self.authorize(&request).await;
        let (tokens, id) = self.tokens(&request, &answer).await;
        let told = self.userinfo(&tokens, Way::Get).await;
        assert_eq!(told["sub"], id["sub"]);
        (id, told)
    }
}

/// The way in which a request passes the access token to userinfo.
#[derive(Clone, Copy)]
enum Way {
    Get,
    PostHeader,
    PostBody,
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
