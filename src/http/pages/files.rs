//! The files of `static/`, compiled into the binary: assets, the templates of the pages, and the tables of texts.
//!
//! Browsers cache an asset for a year under the URL with its hash, and revalidate it under any other URL. While replicas are
//! being replaced, a page of one version may request a file from a replica of the other version, which has another hash.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest;
use axum::http::header::{self, HeaderMap};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use include_dir::{Dir, File, include_dir};

use super::headers::FOR_ANY_ORIGIN;
use super::query::parameter;
use crate::http::fields::members;
use crate::http::weights::weighted;

static STATIC: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/static");
/// The folder of the tables of texts.
const TEXTS: &str = "texts/";
/// The suffix of templates.
const TEMPLATE: &str = ".html";
/// The suffix of scripts.
const SCRIPT: &str = ".js";
/// A script, and the script that is prepended to it: other sites load the widget as a single file.
const WIDGET: (&str, &str) = ("scangate-look.js", "dom.js");

/// The files that are served, by their path under `static/`.
pub(super) struct Assets(BTreeMap<&'static str, Arc<Asset>>);

/// A file that is served.
pub(super) struct Asset {
    content_type: &'static str,
    body: Cow<'static, [u8]>,
    /// The body, compressed once at startup, if that is smaller.
    gzip: Option<Vec<u8>>,
    hash: String,
}

impl Assets {
    pub(super) fn new() -> Self {
        let files =
            files(&STATIC).into_iter().filter(|(path, _)| !path.ends_with(TEMPLATE) && !path.starts_with(TEXTS));
        let body = |path: &'static str, file: &'static File<'static>| {
            if path.ends_with(SCRIPT) { Cow::Owned(script(path).into_bytes()) } else { Cow::Borrowed(file.contents()) }
        };
        Self(files.map(|(path, file)| (path, Arc::new(Asset::new(path, body(path, file))))).collect())
    }

    /// Returns the asset with this path under `static/`.
    pub(super) fn find(&self, path: &str) -> Option<&Arc<Asset>> {
        self.0.get(path)
    }

    /// Returns the URL with the hash of each asset.
    pub(super) fn urls(&self) -> BTreeMap<&'static str, String> {
        self.0.iter().map(|(path, asset)| (*path, format!("/static/{path}?v={}", asset.hash))).collect()
    }
}

impl Asset {
    fn new(path: &str, body: Cow<'static, [u8]>) -> Self {
        let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .encode(&digest::digest(&digest::SHA256, &body).as_ref()[..12]);
        let gzip = Some(compressed(&body)).filter(|gzip| gzip.len() < body.len());
        Self { content_type: content_type(path), body, gzip, hash }
    }

    /// Returns the response to a request for this asset.
    pub(super) fn response(&self, uri: &Uri, headers: &HeaderMap) -> Response {
        let has_hash = parameter(uri, "v").is_some_and(|hash| hash == self.hash);
        let cache = if has_hash { "public, max-age=31536000, immutable" } else { "no-cache" };
        let gzip = self.gzip.as_ref().filter(|_| accepts_gzip(headers));
        // The compressed body needs an ETag of its own (RFC 9110 §8.8.3.3).
        let etag = format!("\"{}{}\"", self.hash, if gzip.is_some() { "-gzip" } else { "" });
        let is_known = has_tag(headers, &etag);
        let caching = [(header::CACHE_CONTROL, cache), (header::ETAG, &etag), (header::VARY, "accept-encoding")];
        if is_known {
            return (StatusCode::NOT_MODIFIED, FOR_ANY_ORIGIN, caching).into_response();
        }
        let content_type = [(header::CONTENT_TYPE, self.content_type)];
        match gzip {
            Some(gzip) => {
                let encoding = [(header::CONTENT_ENCODING, "gzip")];
                (FOR_ANY_ORIGIN, caching, content_type, encoding, gzip.clone()).into_response()
            }
            None => (FOR_ANY_ORIGIN, caching, content_type, self.body.clone()).into_response(),
        }
    }
}

/// Returns whether `If-None-Match` contains `etag`, by the weak comparison (RFC 9110 §13.1.2).
fn has_tag(headers: &HeaderMap, etag: &str) -> bool {
    members(headers, header::IF_NONE_MATCH)
        .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}

/// Returns a script as it is served: without comments, and for the widget with the script that is prepended to it.
pub(super) fn script(path: &str) -> String {
    let source = text(path).unwrap_or_default();
    let before = Some(WIDGET.1).filter(|_| path == WIDGET.0).and_then(text).unwrap_or_default();
    without_comments(before) + &without_comments(source)
}

/// Returns a script without indentation, empty lines, and comments on lines of their own. No string literal may continue on the
/// next line.
pub(super) fn without_comments(script: &str) -> String {
    let mut kept = String::with_capacity(script.len());
    let mut is_comment = false;
    for line in script.lines().map(str::trim) {
        is_comment |= line.starts_with("/*");
        if !is_comment && !line.is_empty() && !line.starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
        is_comment &= !line.ends_with("*/");
    }
    kept
}

/// Returns the text of a file, by its path under `static/`.
pub(super) fn text(path: &str) -> Option<&'static str> {
    STATIC.get_file(path)?.contents_utf8()
}

/// Returns the templates with their paths under `static/`.
pub(super) fn templates() -> impl Iterator<Item = (&'static str, &'static str)> {
    files(&STATIC).into_iter().filter(|(path, _)| path.ends_with(TEMPLATE)).filter_map(as_text)
}

/// Returns the tables of texts with their languages' tags, which are the names of their files.
pub(super) fn texts() -> impl Iterator<Item = (&'static str, &'static str)> {
    files(&STATIC).into_iter().filter_map(as_text).filter_map(|(path, text)| {
        let language = path.strip_prefix(TEXTS)?.strip_suffix(".json")?;
        Some((language, text))
    })
}

fn as_text((path, file): (&'static str, &'static File<'static>)) -> Option<(&'static str, &'static str)> {
    Some((path, file.contents_utf8()?))
}

/// Returns every file under a folder, with its path.
fn files(folder: &'static Dir<'static>) -> Vec<(&'static str, &'static File<'static>)> {
    let here = folder.files().filter_map(|file| Some((file.path().to_str()?, file)));
    here.chain(folder.dirs().flat_map(files)).collect()
}

fn compressed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to a vector does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_else(|_| body.to_vec())
}

/// Returns whether the request accepts gzip (RFC 9110 §12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    weighted(headers, header::ACCEPT_ENCODING)
        .any(|(coding, weight)| coding.eq_ignore_ascii_case("gzip") && weight > 0.0)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json") => "application/json",
        Some("ts" | "txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
