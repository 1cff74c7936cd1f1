//! Errors as `application/problem+json` (RFC 9457).

use axum::{
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use cdn_types::{TitleId, api::v1};

/// Seconds after which a client may ask again when the answer was 503.
const RETRY_AFTER: &str = "2";

/// One error answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem(v1::Problem);

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self(v1::Problem {
            kind: format!("urn:nightfill:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
        })
    }
    /// The request cannot be understood.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request cannot be understood",
            detail,
        )
    }
    /// No such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }
    /// Who asks is not known.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Say who asks", detail)
    }
    /// Only reading is possible.
    pub fn method_not_allowed() -> Self {
        let detail = "Use GET or HEAD.";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "Method not allowed",
            detail,
        )
    }
    /// A session token that is not ours. Never 404 or 410: players then stop steering for good.
    pub fn session(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "session",
            "Not a session of this service",
            detail,
        )
    }
    /// Not where the viewer is (RFC 7725).
    pub fn not_licensed(title: &TitleId) -> Self {
        Self::new(
            StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
            "not-licensed",
            "Not licensed in the viewer's country",
            format!(
                "The policy does not allow title `{title}` in the viewer's country, or the country is not known."
            ),
        )
    }
    /// No snapshot yet.
    pub fn no_fleet() -> Self {
        let detail = "No fleet snapshot has arrived yet; the control plane may be away. Ask again shortly.";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-fleet",
            "The fleet is not known yet",
            detail,
        )
    }
    /// Nobody can serve it.
    pub fn nobody(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "nobody-serves",
            "Nobody can serve this title now",
            detail,
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let extra: Option<(HeaderName, &str)> = match status {
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, RETRY_AFTER)),
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            StatusCode::METHOD_NOT_ALLOWED => Some((header::ALLOW, "GET, HEAD, OPTIONS")),
            _ => None,
        };
        let body = serde_json::to_string(&self.0).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some((name, value)) = extra {
            response
                .headers_mut()
                .insert(name, axum::http::HeaderValue::from_static(value));
        }
        response
    }
}
