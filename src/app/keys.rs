//! Opens the signer with the keys of the directory, of the demo, or of this process, and one of each algorithm that clients name.

use std::time::Duration;

use anyhow::Context as _;

use crate::clients::Clients;
use crate::config::Config;
use crate::config::store::StoreSettings;
use crate::signer::keys::{self, KeyAlgorithm, KeyError, SigningKeys};
use crate::signer::{MissingKey, Signer};
use crate::store::{Put, Store};
use crate::verifier::settings::IdentitySettings;

/// The name of the demo's first key in the store.
const DEMO_KEY: &str = "demo:key";
/// How long the store keeps the demo's keys: longer than any evaluation.
const DEMO_KEY_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

/// Opens the signer, with a key of each algorithm that clients name.
pub(super) async fn signer(config: &Config, store: &dyn Store) -> anyhow::Result<Signer> {
    let named = config.clients.algorithms();
    if matches!(config.identity, IdentitySettings::Demo) {
        return demo_signer(&config.issuer, &named, store).await.context("cannot create the demo's keys");
    }
    // Only with the memory store, the gateway is the only process that signs for its clients.
    let missing = match &config.store {
        StoreSettings::Memory { .. } => MissingKey::Create,
        StoreSettings::Redis(_) => MissingKey::Refuse,
    };
    let (issuer, directory) = (config.issuer.clone(), config.keys_dir.clone());
    let opened = move || Signer::open(&issuer, directory)?.with_algorithms(&named, missing);
    tokio::task::spawn_blocking(opened).await?.map_err(|error| explain_keys(&config.clients, error))
}

/// Returns the error with the client that needs the missing key.
fn explain_keys(clients: &Clients, error: KeyError) -> anyhow::Error {
    let (KeyError::Missing { algorithm, .. }
    | KeyError::NotCreated { algorithm, .. }
    | KeyError::NoDirectory(algorithm)) = error
    else {
        return anyhow::Error::new(error).context("cannot read the signing keys");
    };
    let id = clients.first_with(algorithm).map(|client| client.id.0.clone()).unwrap_or_default();
    anyhow::Error::new(error).context(format!("client {id:?}"))
}

/// Reads the demo's keys from the store, or stores new ones, so that all gateways on one Redis accept the same demo users and sign
/// with the same keys. The demo therefore never uses keys that sites rely on.
async fn demo_signer(issuer: &str, named: &[KeyAlgorithm], store: &dyn Store) -> anyhow::Result<Signer> {
    let mut pems = Vec::new();
    for algorithm in named.iter().copied().filter(|named| *named != KeyAlgorithm::Es256) {
        pems.push(demo_key(&format!("{DEMO_KEY}:{algorithm}"), algorithm, store).await?);
    }
    // The last one is the oldest, from which secrets are derived: it does not depend on the clients.
    pems.push(demo_key(DEMO_KEY, KeyAlgorithm::Es256, store).await?);
    Ok(Signer::of_keys(issuer, SigningKeys::of_pems(&pems)?, named))
}

/// Reads a key from the store, or stores a new one.
async fn demo_key(name: &str, algorithm: KeyAlgorithm, store: &dyn Store) -> anyhow::Result<String> {
    if let Some(shared) = store.value(name).await? {
        return Ok(shared);
    }
    let pem = tokio::task::spawn_blocking(move || keys::generate(algorithm)).await??;
    store.put_value(name, &pem, DEMO_KEY_TTL, Put::IfAbsent).await?;
    store.value(name).await?.context("the store lost the demo's key")
}
