//! Cross-origin fields (Fetch standard). Media is public and carries no credentials: every origin may read it, with
//! everything that a player measures by.

/// On every response.
pub const ALWAYS: &[(&str, &str)] = &[
    ("Access-Control-Allow-Origin", "*"),
    (
        "Access-Control-Expose-Headers",
        "Accept-Ranges, Age, CMSD-Dynamic, CMSD-Static, Content-Length, Content-Range, Date, ETag, Retry-After, \
         Server-Timing",
    ),
    ("Timing-Allow-Origin", "*"),
];

/// Methods that are answered; also the `Allow` of a 405.
pub const METHODS: &str = "GET, HEAD, OPTIONS";

/// On the answer to OPTIONS.
pub const PREFLIGHT: &[(&str, &str)] = &[
    ("Allow", METHODS),
    ("Access-Control-Allow-Methods", METHODS),
    (
        "Access-Control-Allow-Headers",
        "Range, If-Match, If-Modified-Since, If-None-Match, If-Range, If-Unmodified-Since, Cache-Control, Pragma, \
         Content-Type, CMCD-Request, CMCD-Object, CMCD-Status, CMCD-Session, \
         CTA-Common-Access-Token",
    ),
    ("Access-Control-Max-Age", "86400"), // the most that browsers keep
];
