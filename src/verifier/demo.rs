//! Demo users, for trying scangate without an identity provider. `config` allows them only where it is safe.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::bearer::Verifier;
use crate::metrics::Metrics;

/// The lifetime of a demo user's token.
pub const TOKEN_TTL: Duration = Duration::from_secs(3600);
/// The longest name, in characters.
pub const MAX_NAME_CHARS: usize = 64;

/// The id of the demo among the identity providers of sessions.
pub const PROVIDER: &str = "demo";
/// The name of the demo on pages.
pub const PROVIDER_NAME: &str = "Demo";

const ISSUER: &str = "scangate-demo";

/// Issues tokens that only the [`Verifier`] created with it accepts.
pub struct DemoIdentity {
    secret: EncodingKey,
}

impl DemoIdentity {
    /// Creates the issuer and its verifier. Gateways that serve the same sign-in need the same secret.
    #[must_use]
    pub fn new(secret: &[u8; 32], metrics: Arc<Metrics>) -> (Self, Verifier) {
        let verifier = Verifier::with_secret(secret, ISSUER.to_owned(), ISSUER.to_owned(), metrics);
        (Self { secret: EncodingKey::from_secret(secret) }, verifier)
    }

    /// Returns a token for the demo user `name`.
    ///
    /// # Errors
    /// The library's error; HS256 signing does not fail.
    pub fn sign_in(&self, name: &str) -> Result<String, jsonwebtoken::errors::Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = json!({
            "iss": ISSUER,
            "aud": ISSUER,
            "sub": format!("demo:{name}"),
            "name": name,
            "iat": now.as_secs(),
            "exp": (now + TOKEN_TTL).as_secs(),
        });
        jsonwebtoken::encode(&Header::default(), &claims, &self.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_demo_token_is_accepted_only_with_the_same_secret() {
        let (demo, verifier) = DemoIdentity::new(&[1; 32], Arc::default());
        let (_, elsewhere) = DemoIdentity::new(&[2; 32], Arc::default());
        let token = demo.sign_in("Ada").unwrap();
        assert_eq!(verifier.verify(&token).await.unwrap().person.subject.0, "demo:Ada");
        assert!(elsewhere.verify(&token).await.is_err());
    }
}
