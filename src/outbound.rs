//! Responses of other services: bounded reading of bodies, and the causes of failed requests.

use std::error::Error;

use tokio_stream::StreamExt as _;

/// The reason why a response body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection failed.
    #[error("{}", root_cause(.0))]
    Http(#[from] reqwest::Error),
    /// The body is larger than the bound.
    #[error("the response is too large")]
    TooLarge,
}

/// Reads a response body of at most `max_bytes`.
///
/// # Errors
/// [`BodyError`]. A larger body is not read to the end.
pub async fn read_body(response: reqwest::Response, max_bytes: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk?);
        if body.len() > max_bytes {
            return Err(BodyError::TooLarge);
        }
    }
    Ok(body)
}

/// Returns the innermost cause of a failed request, such as a refused connection, an unknown name or an untrusted
/// certificate. The error's own text says only that the request failed.
#[must_use]
pub fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
