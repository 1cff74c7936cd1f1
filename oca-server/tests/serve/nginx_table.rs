//! Requests whose answers are compared with nginx's. `{etag}` stands for the server's own tag of the file, `{same}`,
//! `{older}` and `{newer}` for HTTP-dates around its modification time.

/// What is expected of a row.
pub enum Expect {
    /// Status, length and body are the same, and the status is this.
    Same(u16),
    /// They differ, by choice: our status, nginx's, the reason.
    Differs(u16, u16, &'static str),
}
use Expect::{Differs, Same};

pub struct Row {
    pub method: &'static str,
    pub target: &'static str,
    /// Header lines without their line ends.
    pub fields: &'static [&'static str],
    pub expect: Expect,
}

const fn row(
    method: &'static str,
    target: &'static str,
    fields: &'static [&'static str],
    expect: Expect,
) -> Row {
    Row {
        method,
        target,
        fields,
        expect,
    }
}
const fn f(fields: &'static [&'static str], expect: Expect) -> Row {
    row("GET", "/f.mp4", fields, expect)
}

const LISTS: &str = "RFC 9110 §5.6.1.2: empty list elements are parsed and ignored; nginx refuses the field.";
const SATURATE: &str = "RFC 9110 §14.1.2: a last position beyond the end means the end, however many digits it has; nginx refuses what \
     does not fit 63 bits.";
const INVALID: &str = "RFC 9110 §14.1.1: a range whose last position is before its first makes the set invalid, and §14.2 lets it be \
     rejected; nginx skips that range.";
const NOTHING: &str = "RFC 9110 §14.1.1: a set has at least one range; §14.2 lets an invalid set be rejected, as both servers do with \
     other invalid sets.";
const SPACES: &str =
    "RFC 9110 §14.1.1: no white space inside a range; §14.2 lets an invalid set be rejected.";
const MANY: &str =
    "RFC 9110 §14.2 and §17.15: more than 32 ranges in one request are ignored; nginx has no limit.";
const EMPTY: &str = "RFC 9110 §14.2: Range may be ignored; an empty file is always answered whole, as no Content-Range can describe \
     a piece of it.";
const HEAD: &str = "RFC 9110 §14.2: Range is defined for GET alone and must be ignored with HEAD.";
const IMS: &str = "RFC 9110 §13.1.3: a file not changed since a later date is not modified either; nginx's default compares for \
     equality.";
const INM_FIRST: &str = "RFC 9110 §13.1.3: If-Modified-Since is ignored when If-None-Match is there.";
const IUS_INVALID: &str = "RFC 9110 §13.1.4: a field value that is no date is ignored.";
const IM_FIRST: &str = "RFC 9110 §13.2.2: If-Unmodified-Since is looked at only when If-Match is absent.";
const OPTIONS: &str = "RFC 9110 §9.3.7 and the Fetch standard's preflight: OPTIONS is answered, so that players in browsers may send \
     Range and CMCD fields.";

pub const TABLE: &[Row] = &[
    // single ranges
    f(&[], Same(200)),
    f(&["Range: bytes=0-0"], Same(206)),
    f(&["Range: bytes=0-"], Same(206)),
    f(&["Range: bytes=0-499"], Same(206)),
    f(&["Range: bytes=500-999"], Same(206)),
    f(&["Range: bytes=1048576-2097151"], Same(206)),
    f(&["Range: bytes=0-4194303"], Same(206)),
    f(&["Range: bytes=0-4194304"], Same(206)),
    f(&["Range: bytes=4194303-"], Same(206)),
    f(&["Range: bytes=4194303-4194303"], Same(206)),
    f(&["Range: bytes=4194300-9999999"], Same(206)),
    f(&["Range: bytes=-1"], Same(206)),
    f(&["Range: bytes=-500"], Same(206)),
    f(&["Range: bytes=-4194304"], Same(206)),
    f(&["Range: bytes=-9999999"], Same(206)),
    f(&["Range: BYTES=0-9"], Same(206)),
    f(&["range: Bytes=-9"], Same(206)),
    f(&["Range: bytes= 0-9"], Same(206)),
    f(&["Range: bytes=0-9   "], Same(206)),
    f(&["Range: bytes=00000-00009"], Same(206)),
    row("GET", "/small.mp4", &["Range: bytes=0-99"], Same(206)),
    row("GET", "/small.mp4", &["Range: bytes=99-100"], Same(206)),
    row("GET", "/small.mp4", &["Range: bytes=100-"], Same(416)),
    // refused
    f(&["Range: bytes=4194304-"], Same(416)),
    f(&["Range: bytes=9999999-99999999"], Same(416)),
    f(&["Range: bytes=-0"], Same(416)),
    f(&["Range: bytes=5-2"], Same(416)),
    f(&["Range: bytes=abc"], Same(416)),
    f(&["Range: bytes=-"], Same(416)),
    f(&["Range: bytes=7"], Same(416)),
    f(&["Range: bytes=--5"], Same(416)),
    f(&["Range: bytes=1-2-3"], Same(416)),
    f(&["Range: bytes=0x10-20"], Same(416)),
    f(&["Range: bytes=0-1;5-6"], Same(416)),
    f(&["Range: bytes=0-1,x"], Same(416)),
    f(&["Range: bytes=9999999-,99999999-"], Same(416)),
    f(&["Range: bytes=99999999999999999999999-"], Same(416)),
    // ignored
    f(&["Range: bits=0-1"], Same(200)),
    f(&["Range: bytes"], Same(200)),
    f(&["Range: bytes:0-1"], Same(200)),
    f(&["Range: bytes =0-1"], Same(200)),
    f(&["Range: 0-1"], Same(200)),
    f(&["Range: bytes=0-,-1"], Same(200)),
    f(&["Range: bytes=0-,0-"], Same(200)),
    f(&["Range: bytes=0-4194303,4194303-"], Same(200)),
    // several
    f(&["Range: bytes=0-1,5-6"], Same(206)),
    f(&["Range: bytes=0-1, 5-6"], Same(206)),
    f(&["Range: bytes=5-6,0-1"], Same(206)),
    f(&["Range: bytes=0-9,5-14"], Same(206)),
    f(&["Range: bytes=0-0,-1"], Same(206)),
    f(&["Range: bytes=-1,-2"], Same(206)),
    f(&["Range: bytes=0-1,9999999-"], Same(206)),
    f(&["Range: bytes=9999999-,0-1"], Same(206)),
    f(&["Range: bytes=0-1,9999999-,5-6"], Same(206)),
    f(&["Range: bytes=0-1048575,2097152-3145727"], Same(206)),
    f(
        &["Range: bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18"],
        Same(206),
    ),
    row("GET", "/small.mp4", &["Range: bytes=0-49,50-99"], Same(206)),
    // empty file
    row("GET", "/empty.mp4", &[], Same(200)),
    row("GET", "/empty.mp4", &["Range: bytes=0-0"], Same(200)),
    row("GET", "/empty.mp4", &["Range: bytes=-5"], Same(200)),
    row(
        "GET",
        "/empty.mp4",
        &["Range: bytes=5-9"],
        Differs(200, 416, EMPTY),
    ),
    // differences in ranges
    f(&["Range: bytes=0-1,,5-6"], Differs(206, 416, LISTS)),
    f(&["Range: bytes=,0-1"], Differs(206, 416, LISTS)),
    f(
        &["Range: bytes=4194300-99999999999999999999999"],
        Differs(206, 416, SATURATE),
    ),
    f(
        &["Range: bytes=-99999999999999999999999"],
        Differs(206, 416, SATURATE),
    ),
    f(&["Range: bytes=0-1,5-2"], Differs(416, 206, INVALID)),
    f(&["Range: bytes="], Differs(416, 200, NOTHING)),
    f(&["Range: bytes=0 - 1"], Differs(416, 206, SPACES)),
    f(
        &[
            "Range: bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,26-26,28-28,30-30,32-32,\
           34-34,36-36,38-38,40-40,42-42,44-44,46-46,48-48,50-50,52-52,54-54,56-56,58-58,60-60,62-62,64-64",
        ],
        Differs(200, 206, MANY),
    ),
    // If-None-Match, If-Modified-Since
    f(&["If-None-Match: {etag}"], Same(304)),
    f(&["If-None-Match: W/{etag}"], Same(304)),
    f(&["If-None-Match: *"], Same(304)),
    f(&["If-None-Match: \"x\""], Same(200)),
    f(&["If-None-Match: \"x\", {etag}"], Same(304)),
    f(&["If-None-Match: \"x\",\"y\""], Same(200)),
    f(&["If-None-Match: {etag}", "Range: bytes=0-1"], Same(304)),
    f(&["If-None-Match: \"x\"", "Range: bytes=0-1"], Same(206)),
    f(&["If-None-Match: {etag}", "Range: bytes=9999999-"], Same(304)),
    f(&["If-Modified-Since: {same}"], Same(304)),
    f(&["If-Modified-Since: {older}"], Same(200)),
    f(&["If-Modified-Since: yesterday"], Same(200)),
    f(&["If-Modified-Since: Tuesday, 14-Nov-23 22:13:20 GMT"], Same(304)),
    f(&["If-Modified-Since: Tue Nov 14 22:13:20 2023"], Same(304)),
    f(&["If-Modified-Since: {same}", "Range: bytes=0-1"], Same(304)),
    f(&["If-Modified-Since: {newer}"], Differs(304, 200, IMS)),
    f(&["If-None-Match: \"x\"", "If-Modified-Since: {same}"], Same(200)),
    f(&["If-None-Match: {etag}", "If-Modified-Since: {same}"], Same(304)),
    f(
        &["If-None-Match: {etag}", "If-Modified-Since: {older}"],
        Differs(304, 200, INM_FIRST),
    ),
    // If-Match, If-Unmodified-Since
    f(&["If-Match: {etag}"], Same(200)),
    f(&["If-Match: *"], Same(200)),
    f(&["If-Match: \"x\""], Same(412)),
    f(&["If-Match: W/{etag}"], Same(412)),
    f(&["If-Match: \"x\", {etag}"], Same(200)),
    f(&["If-Match: {etag}", "Range: bytes=0-1"], Same(206)),
    f(&["If-Match: \"x\"", "Range: bytes=0-1"], Same(412)),
    f(&["If-Match: \"x\"", "If-None-Match: {etag}"], Same(412)),
    f(&["If-Match: {etag}", "If-None-Match: {etag}"], Same(304)),
    f(&["If-Unmodified-Since: {same}"], Same(200)),
    f(&["If-Unmodified-Since: {newer}"], Same(200)),
    f(&["If-Unmodified-Since: {older}"], Same(412)),
    f(&["If-Unmodified-Since: {older}", "Range: bytes=0-1"], Same(412)),
    f(
        &["If-Unmodified-Since: yesterday"],
        Differs(200, 412, IUS_INVALID),
    ),
    f(
        &["If-Match: {etag}", "If-Unmodified-Since: {older}"],
        Differs(200, 412, IM_FIRST),
    ),
    // If-Range
    f(&["If-Range: {etag}", "Range: bytes=0-1"], Same(206)),
    f(&["If-Range: {etag}", "Range: bytes=0-1,5-6"], Same(206)),
    f(&["If-Range: \"x\"", "Range: bytes=0-1"], Same(200)),
    f(&["If-Range: W/{etag}", "Range: bytes=0-1"], Same(200)),
    f(&["If-Range: {same}", "Range: bytes=0-1"], Same(206)),
    f(&["If-Range: {older}", "Range: bytes=0-1"], Same(200)),
    f(&["If-Range: {newer}", "Range: bytes=0-1"], Same(200)),
    f(&["If-Range: soon", "Range: bytes=0-1"], Same(200)),
    f(&["If-Range: {etag}"], Same(200)),
    f(&["If-Range: {etag}", "Range: bytes=9999999-"], Same(416)),
    f(&["If-Range: \"x\"", "Range: bytes=9999999-"], Same(200)),
    // methods
    row("HEAD", "/f.mp4", &[], Same(200)),
    row("HEAD", "/f.mp4", &["If-None-Match: {etag}"], Same(304)),
    row("HEAD", "/f.mp4", &["If-Match: \"x\""], Same(412)),
    row("HEAD", "/f.mp4", &["If-Modified-Since: {same}"], Same(304)),
    row("HEAD", "/f.mp4", &["Range: bytes=0-1"], Differs(200, 206, HEAD)),
    row("HEAD", "/none.mp4", &[], Same(404)),
    row("GET", "/none.mp4", &["Range: bytes=0-1"], Same(404)),
    row("GET", "/none.mp4", &["If-Match: *"], Same(404)),
    row("POST", "/f.mp4", &["Content-Length: 0"], Same(405)),
    row("DELETE", "/f.mp4", &[], Same(405)),
    row("OPTIONS", "/f.mp4", &[], Differs(204, 405, OPTIONS)),
];
