//! Signed addresses: who may fetch what, until when, said by a token in the address itself. Two kinds of token, one
//! engine: URI signing (RFC 9246, a JWT) and the Common Access Token (CTA-5007, a CWT).
//!
//! [`Verifier::open`] turns a token into a [`Grant`], which costs a signature check and may be kept; then
//! [`Grant::check`] says for each request whether the grant covers it, which costs a match. A caller that keeps grants
//! must drop them when the keys change.
//!
//! The crate is pure: the time is an argument, randomness too (ECDSA wants some for every signature), and key files
//! come as text.

mod carrier;
mod cat;
mod claims;
mod container;
mod grant;
mod jwt;
mod keys;
mod mint;
mod reason;
mod uri;

pub use carrier::{Carried, ParameterError, check_attribute, find_in_cookies, find_in_target};
pub use grant::{Grant, Renewal, Request, Verifier};
pub use keys::{Algorithm, Issuer, Key, KeyError, KeySet};
pub use mint::{Address, Life, mint_cat, mint_jwt, sign_jwt};
pub use reason::Reason;
pub use uri::Uri;

/// The attribute of RFC 9246 unless it is configured otherwise (§4.4).
pub const DEFAULT_ATTRIBUTE: &str = "URISigningPackage";
/// The header of a Common Access Token (CTA-5007-B §4.7).
pub const CAT_HEADER: &str = "cta-common-access-token";
/// Longest token in characters: some five times what our own need, and small beside a request head.
pub const MAX_TOKEN: usize = 4096;

/// Milliseconds since 1970, as [`Verifier`] and [`Grant`] take the time.
pub type Millis = i64;
