//! Answers of administration and of the webhook: a body with its type.
//!
//! Goes in: what is to be said. Comes out: a response with status 200, or another for text. Does not do: deciding what is said.

use http::{Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;

/// A body of a type.
pub fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// Text for people, with a status.
pub fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = typed("text/plain; charset=utf-8", body.to_owned());
    *response.status_mut() = status;
    response
}
