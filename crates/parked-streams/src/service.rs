//! What a server serves.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::handoff::RequestBody;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A service that a server can serve: every [`Service`] from requests to responses, such as `axum::Router`.
///
/// It has to be `Clone`, `Send` and `Sync`; its response bodies have to be `Send`, `Unpin` and made of [`Bytes`]. A body
/// that is not `Unpin` is made so by `http_body_util::BodyExt::boxed_unsync`. It is implemented for all that fit, and not to
/// be implemented by hand.
pub trait HttpService:
    Service<
        Request<RequestBody>,
        Response = Response<Self::ResponseBody>,
        Error = Self::ServiceError,
        Future = Self::ResponseFuture,
    > + Clone
    + Send
    + Sync
    + 'static
{
    /// The body of its responses.
    type ResponseBody: Body<Data = Bytes, Error = Self::BodyError> + Send + Unpin + 'static;
    /// The error of its responses' bodies. It closes the connection.
    type BodyError: Into<BoxError>;
    /// The error of the service itself. It closes the connection without an answer.
    type ServiceError: Into<BoxError>;
    /// What becomes a response.
    type ResponseFuture: Future<Output = Result<Response<Self::ResponseBody>, Self::ServiceError>> + Send;
}

impl<S, B> HttpService for S
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type ResponseBody = B;
    type BodyError = B::Error;
    type ServiceError = S::Error;
    type ResponseFuture = S::Future;
}
