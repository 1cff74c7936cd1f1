//! Errors as callers get them: `application/problem+json` (RFC 9457) with a stable `type`, and a `detail` that says
//! what was wrong, where, and how to mend it.

use axum::response::{IntoResponse, Response};
use cdn_types::api::v1::Problem;
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::fmt::Display;

/// A problem on its way to the caller.
#[derive(Debug)]
pub struct ApiProblem {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    detail: String,
}

/// Kinds of problems: status, name after `urn:nightfill:`, title.
macro_rules! kinds {
    ($($(#[$doc:meta])* $function:ident => $status:ident, $title:literal;)*) => {
        impl ApiProblem {
            $(
                $(#[$doc])*
                pub fn $function(detail: impl Display) -> Self {
                    Self::new(StatusCode::$status, stringify!($function), $title, detail)
                }
            )*
        }
        /// Every kind's name and status, for the OpenAPI document.
        pub const KINDS: &[(&str, StatusCode)] = &[$((stringify!($function), StatusCode::$status)),*];
    };
}

kinds! {
    /// A body that is no JSON of the wanted type.
    bad_body => BAD_REQUEST, "The body is not what this call takes";
    /// A part of the path that is no id, digest or number.
    bad_path => BAD_REQUEST, "The address has a part that does not parse";
    /// A query that is not understood.
    bad_query => BAD_REQUEST, "The query is not what this call takes";
    /// Another media type than JSON.
    not_json => UNSUPPORTED_MEDIA_TYPE, "The body must be JSON";
    /// A body above the call's limit.
    too_large => PAYLOAD_TOO_LARGE, "The body is too large";
    /// A body that came too slowly.
    too_slow => REQUEST_TIMEOUT, "The body came too slowly";
    /// A body that parses but cannot be taken.
    invalid => UNPROCESSABLE_ENTITY, "The body breaks a rule";
    /// A list above its limit.
    too_many => UNPROCESSABLE_ENTITY, "A list is too long";
    /// No such route.
    unknown_route => NOT_FOUND, "There is no such call";
    /// The route has no such method.
    wrong_method => METHOD_NOT_ALLOWED, "The call has another method";
    /// No such thing.
    not_found => NOT_FOUND, "There is no such thing";
    /// No token, or one that is not known.
    unauthorized => UNAUTHORIZED, "A valid token is needed";
    /// A token that may not do this.
    forbidden => FORBIDDEN, "The token does not allow this";
    /// A join token that cannot be used.
    join_token => UNAUTHORIZED, "The join token cannot be used";
    /// A plan's number is not above all before.
    stale_plan => CONFLICT, "The plan is stale";
    /// Nobody serves the origin store.
    origin_not_served => SERVICE_UNAVAILABLE, "The origin store is not served";
    /// More requests wait than the limit allows.
    too_many_waiting => SERVICE_UNAVAILABLE, "Too many requests wait for news";
    /// Our own fault.
    internal => INTERNAL_SERVER_ERROR, "The control plane failed";
}

impl ApiProblem {
    fn new(status: StatusCode, name: &'static str, title: &'static str, detail: impl Display) -> Self {
        Self {
            status,
            name,
            title,
            detail: detail.to_string(),
        }
    }

    /// What HTTP wants beside the status.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = match self.status {
            StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, "Bearer realm=\"nightfill\""),
            StatusCode::SERVICE_UNAVAILABLE => (header::RETRY_AFTER, "5"),
            _ => return None,
        };
        Some((name, HeaderValue::from_static(value)))
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(detail = %self.detail, "request failed");
        }
        let header = self.header();
        let body = Problem {
            kind: format!("urn:nightfill:{}", self.name),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
        };
        let body = serde_json::to_vec(&body).expect("a problem is texts and a number");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, value)) = header {
            headers.insert(name, value);
        }
        response
    }
}
