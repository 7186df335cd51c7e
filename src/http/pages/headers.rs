//! Headers that several answers of the pages share.

use axum::http::header::{self, HeaderName, HeaderValue};

use super::texts::Language;
use crate::http::origin::EMBEDDABLE;

/// For what holds nothing secret and is used by pages of other origins.
pub(super) const FOR_ANY_ORIGIN: [(HeaderName, &str); 2] = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"), EMBEDDABLE];

/// Denies what browsers offer to pages and these do not use: a script that got in could not use it either.
pub(super) const NO_PERMISSIONS: [(HeaderName, &str); 1] = [(
    HeaderName::from_static("permissions-policy"),
    "accelerometer=(), autoplay=(), camera=(), display-capture=(), encrypted-media=(), fullscreen=(), geolocation=(), \
     gyroscope=(), hid=(), idle-detection=(), local-fonts=(), magnetometer=(), microphone=(), midi=(), payment=(), \
     picture-in-picture=(), publickey-credentials-create=(), publickey-credentials-get=(), screen-wake-lock=(), serial=(), \
     storage-access=(), usb=(), xr-spatial-tracking=()",
)];

/// What tells caches and readers which language it is, and what that hung on.
pub(super) fn language_headers(language: &Language) -> [(HeaderName, HeaderValue); 2] {
    let tag = HeaderValue::from_str(&language.tag).unwrap_or(HeaderValue::from_static("en"));
    [(header::CONTENT_LANGUAGE, tag), (header::VARY, HeaderValue::from_static("accept-language"))]
}
