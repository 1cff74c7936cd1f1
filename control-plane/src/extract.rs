//! How handlers get what a request carries: the caller, ids from the path, the query and the JSON body. Each one
//! that is wrong becomes one problem that names the place.

use crate::{app::Shared, limits, problem::ApiProblem, secret, store::TokenRow};
use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
};
use bytes::Bytes;
use cdn_types::{OcaId, api::v1::Role};
use http::{HeaderMap, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::{fmt::Display, marker::PhantomData, str::FromStr};

/// What a caller must be.
pub trait Need {
    /// The role that is needed; admin may do everything.
    const ROLE: Role;
}

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident => $role:ident;)*) => {
        $(
            $(#[$doc])*
            pub struct $name;
            impl Need for $name {
                const ROLE: Role = Role::$role;
            }
        )*
    };
}

needs! {
    /// Titles, sites, tokens, drains.
    Admin => Admin;
    /// Plans and history.
    Planner => Planner;
    /// Reports of one appliance.
    Appliance => Appliance;
    /// Steering's counters.
    Service => Service;
}

/// Proof that the caller may do what `N` needs.
pub struct Caller<N>(TokenRow, PhantomData<N>);

impl Caller<Appliance> {
    /// Whether the caller may speak for this appliance: the appliance itself, or an admin.
    pub fn speaks_for(&self, id: &OcaId) -> Result<(), ApiProblem> {
        match &self.0.appliance {
            Some(own) if own == id => Ok(()),
            None if self.0.role == Role::Admin => Ok(()),
            _ => Err(ApiProblem::forbidden(format_args!(
                "the token is `{}`'s; appliance {id} reports with its own, which it got when it joined",
                self.0.name
            ))),
        }
    }
}

impl<N: Need + Send + Sync> FromRequestParts<Shared> for Caller<N> {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, ApiProblem> {
        let wanted = crate::store::role_name(N::ROLE);
        let token = bearer(&parts.headers, &wanted)?;
        let row = app.store().token(&secret::hash(token)).await?.ok_or_else(|| {
            ApiProblem::unauthorized(
                "the bearer token is not known here, or has ended: an appliance must join again, others get a new \
                 one by `control-plane token` or POST /v1/tokens",
            )
        })?;
        if row.role != N::ROLE && row.role != Role::Admin {
            return Err(ApiProblem::forbidden(format_args!(
                "the token of `{}` has role {}; this call needs role {wanted}",
                row.name,
                crate::store::role_name(row.role)
            )));
        }
        Ok(Self(row, PhantomData))
    }
}

fn bearer<'a>(headers: &'a HeaderMap, wanted: &str) -> Result<&'a str, ApiProblem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(ApiProblem::unauthorized(format_args!(
            "send `Authorization: Bearer <token>` with a token of role {wanted}"
        )));
    };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    token.filter(|t| !t.is_empty()).ok_or_else(|| {
        ApiProblem::unauthorized("the Authorization header is not of the form `Bearer <token>`")
    })
}

/// One part of the path, parsed.
pub struct PathPart<T>(pub T);

impl<T, S> FromRequestParts<S> for PathPart<T>
where
    T: FromStr<Err: Display>,
    S: Send + Sync,
{
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|e| ApiProblem::bad_path(e.body_text()))?;
        text.parse().map(Self).map_err(ApiProblem::bad_path)
    }
}

/// The query, parsed; an unknown key is an error if `T` says so.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(e) => Err(ApiProblem::bad_query(e.body_text())),
        }
    }
}

/// The JSON body, at most `LIMIT` bytes.
pub struct JsonBody<T, const LIMIT: usize>(pub T);

impl<T: DeserializeOwned, S: Send + Sync, const LIMIT: usize> FromRequest<S> for JsonBody<T, LIMIT> {
    type Rejection = ApiProblem;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiProblem> {
        let media_type = request
            .headers()
            .get(header::CONTENT_TYPE)
            .map(http::HeaderValue::as_bytes);
        if !media_type.is_some_and(is_json) {
            let found = media_type.map_or("none".into(), String::from_utf8_lossy);
            return Err(ApiProblem::not_json(format_args!(
                "Content-Type is {found}; send application/json"
            )));
        }
        let bytes = read(request.into_body(), LIMIT).await?;
        parse(&bytes).map(Self)
    }
}

fn is_json(media_type: &[u8]) -> bool {
    let essence = media_type.split(|b| *b == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

async fn read(body: Body, limit: usize) -> Result<Bytes, ApiProblem> {
    let too_large = || ApiProblem::too_large(format_args!("this call takes at most {limit} bytes"));
    let declared = hyper::body::Body::size_hint(&body).lower();
    if declared > limit as u64 {
        return Err(too_large());
    }
    let reading = Limited::new(body, limit).collect();
    match tokio::time::timeout(limits::BODY_TIME, reading).await {
        Err(_) => Err(ApiProblem::too_slow(format_args!(
            "the body did not come within {} s",
            limits::BODY_TIME.as_secs()
        ))),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(e)) => Err(ApiProblem::bad_body(format_args!("the body broke off: {e}"))),
    }
}

/// Parses a body; the problem names the field, the line and the column.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiProblem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        match path.as_str() {
            "." => ApiProblem::bad_body(e.into_inner()),
            _ => ApiProblem::bad_body(format_args!("`{path}`: {}", e.into_inner())),
        }
    })?;
    json.end().map_err(ApiProblem::bad_body)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_of_json() {
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json ;x=y",
        ] {
            assert!(is_json(good.as_bytes()), "{good}");
        }
        for bad in ["", "text/plain", "application/jsonp", "text/json"] {
            assert!(!is_json(bad.as_bytes()), "{bad}");
        }
    }
}
