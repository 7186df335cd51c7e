//! The services that a server can serve.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::handoff::RequestBody;

/// An error of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A [`Service`] that a [`Server`](crate::Server) can serve, such as an `axum::Router`.
///
/// Every service from `Request<RequestBody>` to `Response<B>` implements it if
///
/// - the service is `Clone`, `Send`, `Sync` and `'static`, and its futures are `Send`;
/// - `B` is a [`Body`] of [`Bytes`] and is `Send`, `Unpin` and `'static`;
/// - both error types convert to [`BoxError`].
///
/// The server calls a clone of the service for each request. Make a body `Unpin` with
/// `http_body_util::BodyExt::boxed_unsync`. Do not implement this trait yourself.
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
    /// The body of responses.
    type ResponseBody: Body<Data = Bytes, Error = Self::BodyError> + Send + Unpin + 'static;
    /// The error of response bodies. It closes the connection.
    type BodyError: Into<BoxError>;
    /// The error of the service itself. It closes the connection without a response.
    type ServiceError: Into<BoxError>;
    /// The future that resolves to a response.
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
