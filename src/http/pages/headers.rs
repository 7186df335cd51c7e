//! Headers that several responses share.

use axum::http::header::{self, HeaderName, HeaderValue};

use url::Url;

use super::texts::Language;
use crate::http::origin::EMBEDDABLE;

/// For files without secrets that pages of other origins use.
pub(super) const FOR_ANY_ORIGIN: [(HeaderName, &str); 2] = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"), EMBEDDABLE];

/// Keeps the window that has opened the page, for sign-ins and sign-outs in a popup. `COOP: same-origin` is the rule for all other pages.
pub(in crate::http) const KEEP_OPENER: [(HeaderName, &str); 1] =
    [(HeaderName::from_static("cross-origin-opener-policy"), "unsafe-none")];

/// Denies the browser features that the pages do not use, so that an injected script cannot use them either.
pub(super) const NO_PERMISSIONS: [(HeaderName, &str); 1] = [(
    HeaderName::from_static("permissions-policy"),
    "accelerometer=(), autoplay=(), camera=(), display-capture=(), encrypted-media=(), fullscreen=(), geolocation=(), \
     gyroscope=(), hid=(), idle-detection=(), local-fonts=(), magnetometer=(), microphone=(), midi=(), payment=(), \
     picture-in-picture=(), publickey-credentials-create=(), publickey-credentials-get=(), screen-wake-lock=(), serial=(), \
     storage-access=(), usb=(), xr-spatial-tracking=()",
)];

/// Returns the source expression of an address in a Content-Security-Policy: its origin, or the scheme of an app.
pub(super) fn policy_source(address: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    let origin = url.origin();
    Some(if origin.is_tuple() { origin.ascii_serialization() } else { format!("{}:", url.scheme()) })
}

/// Returns `Content-Language`, and `Vary` for caches.
pub(super) fn language_headers(language: &Language) -> [(HeaderName, HeaderValue); 2] {
    let tag = HeaderValue::from_str(&language.tag).unwrap_or(HeaderValue::from_static("en"));
    [(header::CONTENT_LANGUAGE, tag), (header::VARY, HeaderValue::from_static("accept-language"))]
}
