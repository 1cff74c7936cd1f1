//! Why a request is refused, in words for logs and metrics and in the three digits of RFC 9246 §6.5.

/// A reason to refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// No token where one is needed.
    #[error("the address carries no token")]
    Missing,
    /// Not of a token's form, or longer than [`crate::MAX_TOKEN`].
    #[error("the token is cut or garbled")]
    MalformedToken,
    /// `none`, or another algorithm than its key's.
    #[error("the token's algorithm is not that of its key")]
    Algorithm,
    /// No key of that issuer has this id.
    #[error("the token names a key that the issuer does not have")]
    UnknownKey,
    /// Made with another key, or altered.
    #[error("the token's signature is wrong")]
    Signature,
    /// Absent, or unknown here.
    #[error("the token's issuer is unknown")]
    Issuer,
    /// Meant for others.
    #[error("the token is meant for another audience")]
    Audience,
    /// Its end has come.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotBefore,
    /// Transport and expiry of its renewal do not go together.
    #[error("the token asks for a renewal that cannot be made")]
    Renewal,
    /// For one use, which nobody here can count.
    #[error("the token is for one use, and uses are not counted here")]
    OneTime,
    /// Another version of the claims.
    #[error("the token's claims have an unknown version")]
    Version,
    /// Something must be understood that is not.
    #[error("the token has a critical claim that is not understood")]
    Critical,
    /// Bound to a client address, which is not supported.
    #[error("the token is bound to a client address, which is not supported")]
    ClientIp,
    /// For other addresses, or it says not for which.
    #[error("the token is not for this address")]
    Address,
    /// For other methods.
    #[error("the token is not for this method")]
    Method,
    /// For other protocols.
    #[error("the token is not for this protocol")]
    Protocol,
    /// The address is one that two programs could read in two ways.
    #[error("the address cannot be normalised")]
    MalformedUri,
    /// More than one token in one address.
    #[error("the address carries more than one token")]
    TwoTokens,
}

impl Reason {
    /// Every reason, for metrics.
    pub const ALL: [Self; 19] = [
        Self::Missing,
        Self::MalformedToken,
        Self::Algorithm,
        Self::UnknownKey,
        Self::Signature,
        Self::Issuer,
        Self::Audience,
        Self::Expired,
        Self::NotBefore,
        Self::Renewal,
        Self::OneTime,
        Self::Version,
        Self::Critical,
        Self::ClientIp,
        Self::Address,
        Self::Method,
        Self::Protocol,
        Self::MalformedUri,
        Self::TwoTokens,
    ];

    /// What is logged for a request whose token was found good.
    pub const VERIFIED: &str = "200";

    /// The value of `s-uri-signing` (RFC 9246 §6.5).
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "000",
            Self::MalformedToken | Self::Algorithm | Self::UnknownKey | Self::Signature => "400",
            Self::Issuer => "401",
            Self::Audience => "403",
            Self::Expired => "404",
            Self::NotBefore => "405",
            Self::Renewal => "406",
            Self::OneTime => "407",
            Self::Version => "408",
            Self::Critical => "409",
            Self::ClientIp => "410",
            // The registry has no value for a Common Access Token's method and protocol: they too say what it is for.
            Self::Address | Self::Method | Self::Protocol => "411",
            Self::MalformedUri | Self::TwoTokens => "500",
        }
    }

    /// One word, for `s-uri-signing-deny-reason` and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::MalformedToken => "malformed_token",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotBefore => "not_before",
            Self::Renewal => "renewal",
            Self::OneTime => "one_time",
            Self::Version => "version",
            Self::Critical => "critical",
            Self::ClientIp => "client_ip",
            Self::Address => "address",
            Self::Method => "method",
            Self::Protocol => "protocol",
            Self::MalformedUri => "malformed_uri",
            Self::TwoTokens => "two_tokens",
        }
    }
}
