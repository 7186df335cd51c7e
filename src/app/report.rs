//! Says at startup what the gateway runs with: in the log and, to a person, on the terminal.

use std::io::IsTerminal as _;

use crate::config::Config;
use crate::config::store::StoreSettings;
use crate::qr;
use crate::signer::Signer;
use crate::verifier::settings::IdentitySettings;

/// Whether the build is for deployment: optimised, with jemalloc. `cargo run --release` has neither, because both take long to
/// compile. A debug build gets no warning, because nobody deploys one by mistake.
const IS_DEPLOYABLE: bool =
    cfg!(debug_assertions) || (cfg!(feature = "jemalloc") && matches!(env!("BUILD_OPT_LEVEL").as_bytes(), b"2" | b"3"));

/// The store, identity provider and keys in use, as texts.
pub(super) struct Description {
    store: String,
    identity: String,
    keys: String,
}

/// Describes the settings.
pub(super) fn describe(config: &Config, signer: &Signer) -> Description {
    let store = match &config.store {
        StoreSettings::Memory { max_tickets } => format!("memory, up to {max_tickets} tickets"),
        StoreSettings::Redis(settings) => format!("Redis at {}", settings.topology.address()),
    };
    let own = match &config.identity {
        IdentitySettings::Demo => Some("demo (anyone can sign in)".to_owned()),
        IdentitySettings::Providers => None,
        IdentitySettings::Secret { issuer, .. } => Some(format!("{issuer}, by shared secret")),
        IdentitySettings::Jwks { issuer, url, .. } => Some(format!("{issuer}, keys from {url}")),
    };
    let providers = config.providers.iter().map(|provider| format!("{}, sign-in by browser", provider.issuer));
    let identity = own.into_iter().chain(providers).collect::<Vec<_>>().join("; ");
    Description { store, identity, keys: signer.describe() }
}

/// Logs the start and, on a terminal, prints it.
pub(super) fn report_start(config: &Config, description: &Description) {
    let Description { store, identity, keys } = description;
    tracing::info!(public_url = %config.public_url, store, identity, keys, "serving");
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if !IS_DEPLOYABLE && !matches!(config.identity, IdentitySettings::Demo) {
        tracing::warn!(
            "this build is for evaluation: it is slower and does not return freed memory; deploy a build of `cargo build \
             --profile dist --features jemalloc`"
        );
    }
    if !std::io::stdout().is_terminal() {
        return;
    }
    let url = config.public_url.origin().ascii_serialization();
    #[expect(clippy::print_stdout, reason = "output for a person at the terminal")]
    {
        println!("\n  scangate {}\n", env!("CARGO_PKG_VERSION"));
        println!("  sign in at  {url}/");
        println!("  store       {store}\n  identity    {identity}\n  keys        {keys}");
        println!("  operators   http://{}/metrics\n", config.admin_listen);
        if matches!(config.identity, IdentitySettings::Demo)
            && let Ok(code) = qr::terminal(&format!("{url}/"))
        {
            // White on black regardless of the terminal's colours: some scanners cannot read an inverted code.
            for line in code.lines() {
                println!("  \x1b[97;40m{line}\x1b[0m");
            }
            println!();
            println!("  Open {url}/ and follow the page; a second browser window can act as the phone.");
            println!(
                "  With a real phone: --demo --listen 0.0.0.0:8080 --public-url http://THIS-MACHINE'S-ADDRESS:8080\n"
            );
        }
    }
}
