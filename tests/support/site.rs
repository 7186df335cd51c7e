//! Several gateways that share a store and keys, as behind one address.

use serde_json::Value;

use super::Gateway;
use super::gateway::verify_with;

/// Gateways that share a store and keys.
pub struct Site {
    pub gateways: Vec<Gateway>,
    jwks: Value,
    _keys: tempfile::TempDir,
}

impl Site {
    /// Starts `count` gateways with these flags.
    pub async fn start(count: usize, flags: &[(&str, &str)]) -> Self {
        let keys = tempfile::tempdir().unwrap();
        super::crypto();
        scangate::signer::keys::create(keys.path(), scangate::signer::keys::KeyAlgorithm::Es256).unwrap();
        let mut builder = Gateway::builder().arg("--keys-dir", keys.path().to_str().unwrap());
        for (flag, value) in [("--streams-per-address", "10000")].iter().chain(flags) {
            builder = builder.arg(flag, value);
        }
        let gateways = futures_util::future::join_all((0..count).map(|_| builder.clone().start())).await;
        let jwks = reqwest::get(gateways[0].url("/.well-known/jwks.json")).await.unwrap().json().await.unwrap();
        Self { gateways, jwks, _keys: keys }
    }

    /// Returns the `number`th gateway, counted round and round.
    pub fn gateway(&self, number: usize) -> &Gateway {
        &self.gateways[number % self.gateways.len()]
    }

    /// Returns a series' value, of all gateways together.
    pub async fn metric(&self, series: &str) -> f64 {
        let mut sum = 0.0;
        for gateway in &self.gateways {
            sum += gateway.metric(series).await;
        }
        sum
    }

    /// Returns the subject and the id of a JWT.
    pub fn read(&self, token: &str) -> (String, String) {
        let claims = verify_with(&self.jwks, token, "web");
        let text = |name: &str| claims[name].as_str().unwrap().to_owned();
        (text("sub"), text("jti"))
    }

    /// Returns what the gateways have logged of a ticket, and when each heard of another primary.
    pub fn log_of(&self, ticket: &str) -> String {
        let lines = self.gateways.iter().enumerate().flat_map(|(number, gateway)| {
            let is_of_it = |line: &String| line.contains(ticket) || line.contains("the primaries have changed");
            let lines = gateway.process.lines().into_iter().filter(is_of_it);
            lines.map(move |line| format!("\n    gateway {number}: {line}"))
        });
        lines.collect()
    }
}
