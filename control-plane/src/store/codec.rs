//! How values of our types stand in columns, and the one error for a column that does not read back.

use super::StoreError;
use cdn_types::{ObjectDigest, time::Timestamp};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Display, str::FromStr};

fn unreadable(what: &'static str, detail: impl Display) -> StoreError {
    StoreError::Unreadable {
        what,
        detail: detail.to_string(),
    }
}

/// Unsigned numbers stand as the signed number of the same bits: no value is lost.
pub fn to_db(n: u64) -> i64 {
    n as i64
}

pub fn from_db(n: i64) -> u64 {
    n as u64
}

pub fn digest(what: &'static str, bytes: &[u8]) -> Result<ObjectDigest, StoreError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| unreadable(what, format_args!("{} bytes, not 32", bytes.len())))?;
    Ok(ObjectDigest::from_bytes(bytes))
}

pub fn digests(what: &'static str, bytes: &[u8]) -> Result<Vec<ObjectDigest>, StoreError> {
    bytes.chunks(32).map(|b| digest(what, b)).collect()
}

pub fn blob(digest: &ObjectDigest) -> Vec<u8> {
    digest.as_bytes().to_vec()
}

pub fn parsed<T: FromStr>(what: &'static str, text: &str) -> Result<T, StoreError>
where
    T::Err: Display,
{
    text.parse().map_err(|e| unreadable(what, e))
}

pub fn time(what: &'static str, milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds).map_err(|e| unreadable(what, e))
}

pub fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("wire types have text keys and no failing serializer")
}

pub fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| unreadable(what, e))
}

/// The wire's own name of an enum's value, e.g. `planner`.
pub fn name<T: Serialize>(value: T) -> String {
    json(&value).trim_matches('"').to_owned()
}

pub fn from_name<T: DeserializeOwned>(what: &'static str, name: &str) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).map_err(|e| unreadable(what, e))
}
