//! What handlers work with.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::drawing::Drawing;
use super::limits::Limits;
use crate::clients::Clients;
use crate::connectors::Connectors;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::sign_in::SignIns;
use crate::signer::Signer;
use crate::store::Store;
use crate::verifier::Verifier;
use crate::verifier::demo::DemoIdentity;
use crate::waiters::Waiters;

/// How often callers whose allowances have refilled are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// What handlers work with. Made once, by `app`.
pub struct Gateway {
    /// Where the tickets are.
    pub store: Arc<dyn Store>,
    /// Who waits here.
    pub waiters: Waiters,
    /// Issues JWTs.
    pub signer: Signer,
    /// Checks approvers' tokens.
    pub verifier: Verifier,
    /// Makes up approvers, in the demo alone.
    pub demo: Option<DemoIdentity>,
    /// Who may use the gateway.
    pub clients: Clients,
    /// Whose codes are shown in the place of the gateway's own.
    pub connectors: Connectors,
    /// Counts everything.
    pub metrics: Arc<Metrics>,
    /// Bounds the log lines that anybody can cause.
    pub journal: Arc<Journal>,
    /// The gateway's origin as browsers see it.
    pub public_url: Url,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Moves tickets.
    pub sign_ins: SignIns,
    /// What each caller may do.
    pub limits: Limits,
    /// Where QR codes are drawn.
    pub drawing: Drawing,
}

/// What the handlers share.
pub type SharedGateway = Arc<Gateway>;

impl Gateway {
    /// Returns the gateway's origin, without a slash at its end.
    #[must_use]
    pub fn origin(&self) -> String {
        self.public_url.origin().ascii_serialization()
    }

    /// Returns whether browsers reach the gateway over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }

    /// Forgets callers whose allowances have refilled, again and again, for ever.
    pub async fn tidy_limits(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TIDY_EVERY).await;
            self.limits.tidy();
            self.connectors.tidy();
        }
    }
}
