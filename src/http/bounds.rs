//! The names of bounds. The metrics count the refusals at each bound by its name.

use crate::callers::Tier;

/// The names of one bound, by [`Tier`].
pub type BoundNames = [&'static str; Tier::ALL.len()];

macro_rules! per_tier {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $(
            $(#[$doc])*
            pub const $name: BoundNames = [$text, concat!($text, "_site"), concat!($text, "_network")];
        )*
        /// Every bound that is counted per caller, at each tier.
        const PER_TIER: &[BoundNames] = &[$($name),*];
    };
}

per_tier! {
    /// New tickets.
    CREATE = "rate_create";
    /// New tickets whose code a connector creates.
    CONNECTOR = "rate_connector";
    /// QR codes drawn.
    DRAW = "rate_draw";
    /// Tickets opened by phones that begin to sign in.
    OPEN = "rate_open";
    /// Scans by verified people.
    SCAN = "rate_scan";
    /// Scans by browsers without a signed-in person.
    ANONYMOUS_SCAN = "rate_guest_scan";
    /// Confirms and declines.
    CONFIRM = "rate_confirm";
    /// Scans that fail because the token or ticket is invalid.
    INVALID_SCAN = "rate_invalid_scan";
    /// Confirms and declines that fail because the token or ticket is invalid.
    INVALID_CONFIRM = "rate_invalid_confirm";
    /// Sign-ins that begin at an identity provider.
    SIGN_IN = "rate_sign_in";
    /// Answers of identity providers that fit no sign-in of the browser.
    INVALID_ANSWER = "rate_invalid_answer";
    /// Authorization requests of OpenID clients.
    AUTHORIZE = "rate_authorize";
    /// Answers to authorization requests, fetched by browsers after a confirmation.
    DONE = "rate_done";
    /// Token requests of OpenID clients.
    TOKEN = "rate_token";
    /// Userinfo requests with a valid access token.
    USERINFO = "rate_userinfo";
    /// Requests of unknown clients or with a wrong secret, and requests with a text that is no access token.
    INVALID_CLIENT = "rate_invalid_client";
    /// Tickets waiting to be scanned.
    TICKETS = "tickets_per_address";
    /// Open streams.
    STREAMS = "streams_per_address";
    /// Open connections.
    CONNECTIONS = "connections_per_address";
    /// A connector's daily quota.
    CONNECTOR_DAY = "connector_day";
}

/// The bounds that all callers share.
const SHARED: [&str; 8] = [
    "rate_table_full",
    "tickets_table_full",
    "streams_per_ticket",
    "streams_per_process",
    "streams_opening",
    "draining",
    "callbacks",
    "drawing",
];

/// Returns every name.
pub fn all() -> impl Iterator<Item = &'static str> {
    SHARED.into_iter().chain(PER_TIER.iter().flatten().copied())
}
