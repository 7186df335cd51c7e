//! ID tokens (OpenID Connect Core §2) and access tokens (RFC 9068): makes them, and verifies those that come back.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Number, Value};

use super::OpenIdProvider;
use super::grants::{GrantId, LiveGrant};
use super::scopes;
use crate::clients::Client;
use crate::clients::openid::OpenIdClient;
use crate::clock::now;
use crate::random::RandomId;
use crate::signer::issued::{Expected, Issued};
use crate::signer::keys::KeyAlgorithm;
use crate::signer::{JwtType, SignError};
use crate::ticket::{Authentication, Claims, ClientId, Subject};

/// The tokens of one answer of the token endpoint (RFC 6749 §5.1).
#[derive(Clone)]
pub struct Tokens {
    /// The access token.
    pub access_token: String,
    /// How long the access token is valid.
    pub expires_in: Duration,
    /// The ID token.
    pub id_token: String,
    /// The scope of the access token, separated by spaces.
    pub scope: String,
    /// The refresh token, if the client gets one.
    pub refresh_token: Option<String>,
}

/// An access token of this gateway that is valid now. Its grant may have ended.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessToken {
    /// The person.
    pub subject: Subject,
    /// The client.
    pub client_id: ClientId,
    /// The grant.
    pub grant_id: GrantId,
    /// The scopes.
    pub scopes: Vec<String>,
    /// Every claim.
    pub claims: Claims,
}

impl AccessToken {
    /// Returns whether it is for the API that has this client id.
    #[must_use]
    pub fn is_for(&self, client: &ClientId) -> bool {
        match self.claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(|audience| *audience == *client.0),
            Some(audience) => *audience == *client.0,
            None => false,
        }
    }
}

/// An ID token of this gateway that comes back as a hint. It may have expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The person.
    pub subject: Subject,
    /// The client that got it.
    pub client_id: ClientId,
    /// The browser's session, or the grant.
    pub sid: Option<String>,
}

/// `aud`: a text if there is one audience, because some clients read nothing else.
#[derive(Serialize)]
#[serde(untagged)]
enum Audience<'a> {
    One(&'a str),
    Many(Vec<&'a str>),
}

/// The provider's statements about the sign-in.
#[derive(Serialize)]
struct SignInClaims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    amr: Vec<&'a str>,
}

impl<'a> SignInClaims<'a> {
    fn of(authentication: &'a Authentication) -> Self {
        Self {
            auth_time: authentication.auth_time.as_ref(),
            acr: authentication.acr.as_deref(),
            amr: authentication.methods(),
        }
    }
}

/// The claims of an access token (RFC 9068 §2.2). It carries nothing about the person but the subject.
#[derive(Serialize)]
struct AccessTokenClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: Audience<'a>,
    client_id: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    scope: &'a str,
    sid: &'a str,
    grant_id: &'a str,
    #[serde(flatten)]
    sign_in: SignInClaims<'a>,
}

/// The claims of an ID token (OpenID Connect Core §2).
#[derive(Serialize)]
struct IdTokenClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
    jti: String,
    sid: &'a str,
    at_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    #[serde(flatten)]
    sign_in: SignInClaims<'a>,
    #[serde(flatten)]
    released: Claims,
}

impl OpenIdProvider {
    /// Signs the tokens of a grant for its client. `scopes` are those of the access token: the granted ones or fewer. The ID token
    /// of a code has its `nonce`.
    ///
    /// # Errors
    /// [`SignError`] if the cryptography fails.
    pub(super) fn sign_tokens(
        &self,
        (client, openid): (&Client, &OpenIdClient),
        id: &GrantId,
        grant: &LiveGrant,
        scopes: &[String],
        nonce: Option<&str>,
    ) -> Result<Tokens, SignError> {
        let now = now();
        // A token must not outlive its grant.
        let rest = grant.until.since(now);
        // Rounded up: the grant was made a moment ago.
        let rest = Duration::from_secs(rest.as_secs() + u64::from(rest.subsec_nanos() > 0));
        let expires_in = openid.access_token_ttl.min(rest);
        let userinfo = self.userinfo_url();
        let audience = match &openid.audiences[..] {
            [] => Audience::One(&userinfo),
            audiences => Audience::Many(audiences.iter().map(String::as_str).chain([&*userinfo]).collect()),
        };
        let scope = scopes.join(" ");
        let access_token = AccessTokenClaims {
            iss: &self.issuer,
            sub: &grant.grant.subject.0,
            aud: audience,
            client_id: &grant.client_id.0,
            iat: now.unix_seconds(),
            nbf: now.unix_seconds(),
            exp: now.unix_seconds() + expires_in.as_secs(),
            jti: RandomId::new().to_string(),
            scope: &scope,
            sid: &grant.sid,
            grant_id: id.as_str(),
            sign_in: SignInClaims::of(&grant.grant.authentication),
        };
        let access_token = self.signer.sign_with(openid.signing_alg, JwtType::AccessToken, &access_token)?;
        let scopes_of_grant = scopes::remaining(openid, &grant.scopes);
        let id_token = IdTokenClaims {
            iss: &self.issuer,
            sub: &grant.grant.subject.0,
            aud: &grant.client_id.0,
            iat: now.unix_seconds(),
            exp: now.unix_seconds() + openid.id_token_ttl.as_secs(),
            jti: RandomId::new().to_string(),
            sid: &grant.sid,
            at_hash: at_hash(openid.signing_alg, &access_token),
            nonce,
            sign_in: SignInClaims::of(&grant.grant.authentication),
            released: scopes::claims(client, &grant.grant.claims, &scopes_of_grant, &grant.claims.id_token),
        };
        let id_token = self.signer.sign_with(openid.signing_alg, JwtType::Jwt, &id_token)?;
        Ok(Tokens { access_token, expires_in, id_token, scope, refresh_token: None })
    }

    /// Verifies an access token of this gateway. The caller must check whether its grant has ended.
    #[must_use]
    pub fn verify_access_token(&self, token: &str) -> Option<AccessToken> {
        let issued = self.issued_access_token(token, false)?;
        let text = |name: &str| issued.claims.get(name).and_then(Value::as_str);
        Some(AccessToken {
            subject: Subject(issued.subject.clone()),
            client_id: ClientId(text("client_id")?.to_owned()),
            grant_id: GrantId::parse(text("grant_id")?)?,
            scopes: text("scope")?.split(' ').map(str::to_owned).collect(),
            claims: issued.claims.clone(),
        })
    }

    /// Returns whether this gateway has issued this access token. It may have expired.
    #[must_use]
    pub fn has_issued(&self, token: &str) -> bool {
        self.issued_access_token(token, true).is_some()
    }

    fn issued_access_token(&self, token: &str, may_be_expired: bool) -> Option<Issued> {
        let userinfo = self.userinfo_url();
        let expected = Expected { typ: JwtType::AccessToken, audience: Some(&userinfo), may_be_expired };
        self.signer.verify_as(token, expected).ok()
    }

    /// Verifies an ID token of this gateway that comes back as `id_token_hint`.
    #[must_use]
    pub fn verify_hint(&self, token: &str) -> Option<Hint> {
        let issued = self.signer.verify_id_token(token, None, true).ok()?;
        let text = |name: &str| issued.claims.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Hint { subject: Subject(issued.subject.clone()), client_id: ClientId(text("aud")?), sid: text("sid") })
    }

    /// Returns the address of the userinfo endpoint, an audience of every access token.
    #[must_use]
    pub fn userinfo_url(&self) -> String {
        format!("{}/oauth2/userinfo", self.issuer)
    }
}

/// Returns `at_hash`: the left half of the access token's hash, by the hash of the ID token's algorithm (OpenID Connect Core
/// §3.1.3.6; SHA-512 for Ed25519).
pub(super) fn at_hash(algorithm: KeyAlgorithm, access_token: &str) -> String {
    let hash = match algorithm {
        KeyAlgorithm::Es256 | KeyAlgorithm::Rs256 => &digest::SHA256,
        KeyAlgorithm::Eddsa => &digest::SHA512,
    };
    let hash = digest::digest(hash, access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..hash.as_ref().len() / 2])
}
