//! Names of things in the fleet. An id is 1 to 64 characters of `[A-Za-z0-9._-]` and starts with a letter or a
//! digit: it is then safe in a URL path, in a file name, as an HLS Pathway-ID (draft-pantos-content-steering §3.2)
//! and as a DASH `serviceLocation`.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Longest id in characters.
pub const MAX_ID_LEN: usize = 64;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind} id: 1 to 64 characters of A-Z a-z 0-9 . _ - starting with a letter or digit")]
pub struct IdError {
    kind: &'static str,
    text: String,
}

fn check(kind: &'static str, text: &str) -> Result<(), IdError> {
    let ok = !text.is_empty()
        && text.len() <= MAX_ID_LEN
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if ok {
        Ok(())
    } else {
        Err(IdError {
            kind,
            text: text.chars().take(80).collect(),
        })
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses an id; see the module for what is allowed.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check($kind, &text)?;
                Ok(Self(text))
            }
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $name {
            #[inline]
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                Self::new(s)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(s: String) -> Result<Self, IdError> {
                Self::new(s)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

id!(
    /// One appliance ("open connect appliance" in the field's own term).
    OcaId, "an appliance"
);
id!(
    /// One place with one or more appliances that hear the same networks and share a fill window.
    SiteId, "a site"
);
id!(
    /// A group of sites whose viewers want the same things; forecasts are made per region.
    RegionId, "a region"
);
id!(
    /// One film or episode with all its renditions.
    TitleId, "a title"
);

/// Number of a plan. Numbers only grow: an executor refuses one that is not above what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct PlanNumber(pub u64);

impl fmt::Display for PlanNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_safe_in_paths_and_pathways() {
        for good in ["a", "oca-12.lon", "0_x", &"x".repeat(64)] {
            assert!(OcaId::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(OcaId::new(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<SiteId>("\"../etc\"").is_err());
    }
}
