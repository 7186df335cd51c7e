//! The state that all handlers share.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::drawing::DrawingQueue;
use super::limits::Limits;
use crate::clients::Clients;
use crate::connectors::Connectors;
use crate::log_limit::LogLimiter;
use crate::metrics::Metrics;
use crate::openid_provider::OpenIdProvider;
use crate::relying_party::RelyingParty;
use crate::sessions::Sessions;
use crate::sign_in::SignIns;
use crate::signer::Signer;
use crate::store::Store;
use crate::verifier::Verifier;
use crate::verifier::demo::DemoIdentity;
use crate::waiters::Waiters;

/// The interval at which callers whose allowances have refilled are removed.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// The parts and settings that handlers use. `app` builds it once.
pub struct Gateway {
    /// Stores the tickets.
    pub store: Arc<dyn Store>,
    /// The parties that wait in this process.
    pub waiters: Waiters,
    /// The use cases of a sign-in.
    pub sign_ins: SignIns,
    /// The sessions of signed-in people.
    pub sessions: Sessions,
    /// Issues JWTs.
    pub signer: Signer,
    /// Verifies approvers' tokens.
    pub verifier: Verifier,
    /// Sign-ins at the identity providers.
    pub relying_party: RelyingParty,
    /// Answers authorization requests of OpenID clients.
    pub openid_provider: OpenIdProvider,
    /// Signs in demo users; in the demo only.
    pub demo: Option<DemoIdentity>,
    /// The registered clients.
    pub clients: Clients,
    /// The services whose codes replace the gateway's own.
    pub connectors: Connectors,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Limits the log lines that anyone can cause.
    pub log_limiter: Arc<LogLimiter>,
    /// The gateway's origin as browsers see it.
    pub public_url: Url,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// The limits per caller.
    pub limits: Limits,
    /// The queue for drawing QR codes.
    pub drawing: DrawingQueue,
}

/// The state as handlers share it.
pub type SharedGateway = Arc<Gateway>;

impl Gateway {
    /// Returns the gateway's origin, without a slash at the end.
    #[must_use]
    pub fn origin(&self) -> String {
        self.public_url.origin().ascii_serialization()
    }

    /// Returns whether browsers reach the gateway over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }

    /// Removes callers whose allowances have refilled, periodically. Never returns.
    pub async fn prune_limits(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PRUNE_INTERVAL).await;
            self.limits.prune();
            self.connectors.prune();
        }
    }
}
