//! Request + representation → answer: the whole of HTTP semantics that a viewer can see, as one plain function. The
//! shell finds the representation before and sends the slices after.

use crate::{
    conditional::{self, Outcome, Validators},
    cors,
    range::{self, Selection, Slice},
    request::{Fields, Method},
};

/// What is known of the representation that the target names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Representation<'a> {
    /// Size in bytes.
    pub size: u64,
    /// Strong entity tag with its quotes.
    pub etag: &'a str,
    /// Last-Modified in whole seconds since 1970.
    pub modified: u64,
    /// Last-Modified as an HTTP-date.
    pub last_modified: &'a str,
    /// Media type.
    pub media_type: &'a str,
    /// Whether the target can never name other bytes.
    pub immutable: bool,
}

/// One piece of a `multipart/byteranges` body: text, then bytes of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Delimiter and fields, up to the empty line.
    pub head: Vec<u8>,
    /// The bytes.
    pub slice: Slice,
}

/// What follows the response's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing, and no `Content-Length` either (204, 304).
    None,
    /// A line for people.
    Text(&'static str),
    /// Contiguous bytes; `None` = the representation is empty.
    File(Option<Slice>),
    /// Several ranges.
    Parts {
        /// The pieces.
        parts: Vec<Part>,
        /// The closing delimiter.
        tail: Vec<u8>,
        /// Boundary parameter.
        boundary: String,
    },
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Status code.
    pub status: u16,
    /// The representation that the fields describe; absent in errors that are not about one.
    pub representation: Option<Representation<'a>>,
    /// The body of a GET.
    pub body: Body,
    /// Whether the body is left out (HEAD); the fields still describe it.
    pub head_only: bool,
}

/// Cache-Control of what never changes (RFC 8246).
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// Decides on a request for `found` (absent = the target names nothing). `boundary` separates the parts of a
/// multipart answer and must not repeat in the content; `max_ranges` bounds the ranges of one request.
pub fn decide<'a>(
    method: Method,
    fields: &Fields<'_>,
    found: Option<Representation<'a>>,
    max_ranges: usize,
    boundary: u64,
) -> Decision<'a> {
    let head_only = method == Method::Head;
    match method {
        Method::Options => return Decision::without_body(204, None),
        Method::Other => return Decision::error(405),
        Method::Get | Method::Head => {}
    }
    let Some(file) = found else {
        return Decision {
            head_only,
            ..Decision::error(404)
        };
    };
    let current = Validators {
        etag: file.etag,
        modified: file.modified,
    };
    match conditional::evaluate(fields, current) {
        Outcome::Failed => Decision {
            head_only,
            ..Decision::error(412)
        },
        Outcome::NotModified => Decision::without_body(304, Some(file)),
        Outcome::Proceed if head_only => Decision {
            head_only,
            ..Decision::whole(file) // Range is defined for GET alone (§14.2)
        },
        Outcome::Proceed => ranged(fields, file, max_ranges, boundary),
    }
}

fn ranged<'a>(
    fields: &Fields<'_>,
    file: Representation<'a>,
    max_ranges: usize,
    boundary: u64,
) -> Decision<'a> {
    let current = Validators {
        etag: file.etag,
        modified: file.modified,
    };
    let applies = fields
        .if_range
        .as_ref()
        .is_none_or(|v| conditional::if_range(v, current));
    let selection = match &fields.range {
        Some(field) if applies => range::select(field, file.size, max_ranges),
        _ => Selection::Whole,
    };
    let partial = |body| Decision {
        status: 206,
        representation: Some(file),
        body,
        head_only: false,
    };
    match selection {
        Selection::Whole => Decision::whole(file),
        Selection::One(slice) => partial(Body::File(Some(slice))),
        Selection::Many(slices) => partial(multipart(&slices, &file, boundary)),
        Selection::Unsatisfiable => Decision {
            representation: Some(file),
            ..Decision::error(416)
        },
    }
}

/// RFC 9110 §14.6. Twenty digits as boundary, as other servers do.
fn multipart(slices: &[Slice], file: &Representation<'_>, boundary: u64) -> Body {
    let boundary = format!("{boundary:020}");
    let part = |slice: &Slice| Part {
        head: format!(
            "\r\n--{boundary}\r\nContent-Type: {}\r\nContent-Range: bytes {}-{}/{}\r\n\r\n",
            file.media_type,
            slice.offset,
            slice.last(),
            file.size
        )
        .into_bytes(),
        slice: *slice,
    };
    Body::Parts {
        parts: slices.iter().map(part).collect(),
        tail: format!("\r\n--{boundary}--\r\n").into_bytes(),
        boundary,
    }
}

impl<'a> Decision<'a> {
    /// An error that is not about a representation: status and a line for people.
    pub fn error(status: u16) -> Self {
        Self {
            status,
            representation: None,
            body: Body::Text(explain(status)),
            head_only: false,
        }
    }

    fn without_body(status: u16, representation: Option<Representation<'a>>) -> Self {
        Self {
            status,
            representation,
            body: Body::None,
            head_only: false,
        }
    }

    fn whole(file: Representation<'a>) -> Self {
        let all = Slice {
            offset: 0,
            len: file.size,
        };
        Self {
            status: 200,
            representation: Some(file),
            body: Body::File((file.size > 0).then_some(all)),
            head_only: false,
        }
    }

    /// Bytes of the body that a GET gets; absent where there is no `Content-Length`.
    pub fn content_length(&self) -> Option<u64> {
        match &self.body {
            Body::None => None,
            Body::Text(text) => Some(text.len() as u64),
            Body::File(slice) => Some(slice.map_or(0, |s| s.len)),
            Body::Parts { parts, tail, .. } => {
                let bytes = |p: &Part| p.head.len() as u64 + p.slice.len;
                Some(parts.iter().map(bytes).sum::<u64>() + tail.len() as u64)
            }
        }
    }

    /// Calls `field` with each field of the response but `Date`, `Server` and the connection's own.
    pub fn fields(&self, mut field: impl FnMut(&str, &str)) {
        let mut number = Decimal::default();
        if let Some(length) = self.content_length() {
            field("Content-Length", number.text(length));
        }
        match &self.body {
            Body::None => {}
            Body::Text(_) => field("Content-Type", "text/plain; charset=utf-8"),
            Body::Parts { boundary, .. } => {
                field(
                    "Content-Type",
                    &format!("multipart/byteranges; boundary={boundary}"),
                );
            }
            Body::File(_) => {
                if let Some(file) = &self.representation {
                    field("Content-Type", file.media_type);
                }
            }
        }
        if let Some(file) = &self.representation {
            self.file_fields(file, &mut field);
        }
        match self.status {
            204 => cors::PREFLIGHT
                .iter()
                .for_each(|(name, value)| field(name, value)),
            404 | 429 => field("Cache-Control", "no-store"), // the next answer may be another
            405 => field("Allow", cors::METHODS),
            _ => {}
        }
        cors::ALWAYS.iter().for_each(|(name, value)| field(name, value));
    }

    fn file_fields(&self, file: &Representation<'_>, field: &mut impl FnMut(&str, &str)) {
        match (&self.body, self.status) {
            (Body::File(Some(slice)), 206) => {
                field(
                    "Content-Range",
                    &format!("bytes {}-{}/{}", slice.offset, slice.last(), file.size),
                );
            }
            (_, 416) => return field("Content-Range", &format!("bytes */{}", file.size)),
            _ => {}
        }
        field("ETag", file.etag);
        field("Last-Modified", file.last_modified);
        if self.status != 304 {
            field("Accept-Ranges", "bytes");
        }
        if file.immutable {
            field("Cache-Control", IMMUTABLE);
        }
    }
}

/// Formats a number without allocating.
#[derive(Default)]
struct Decimal([u8; 20]);

impl Decimal {
    fn text(&mut self, mut n: u64) -> &str {
        let mut at = self.0.len();
        loop {
            at -= 1;
            self.0[at] = b'0' + (n % 10) as u8;
            n /= 10;
            if n == 0 {
                return std::str::from_utf8(&self.0[at..]).expect("digits are ASCII");
            }
        }
    }
}

/// The reason phrase of every status that is sent.
pub fn reason(status: u16) -> &'static str {
    explain(status).trim_end()
}

fn explain(status: u16) -> &'static str {
    match status {
        200 => "OK\n",
        204 => "No Content\n",
        206 => "Partial Content\n",
        304 => "Not Modified\n",
        400 => "Bad Request\n",
        403 => "Forbidden\n",
        404 => "Not Found\n",
        405 => "Method Not Allowed\n",
        408 => "Request Timeout\n",
        412 => "Precondition Failed\n",
        413 => "Content Too Large\n",
        414 => "URI Too Long\n",
        416 => "Range Not Satisfiable\n",
        417 => "Expectation Failed\n",
        429 => "Too Many Requests\n",
        431 => "Request Header Fields Too Large\n",
        500 => "Internal Server Error\n",
        501 => "Not Implemented\n",
        503 => "Service Unavailable\n",
        505 => "HTTP Version Not Supported\n",
        _ => "Error\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Representation<'static> = Representation {
        size: 1000,
        etag: "\"e\"",
        modified: 1_700_000_000,
        last_modified: "Tue, 14 Nov 2023 22:13:20 GMT",
        media_type: "video/mp4",
        immutable: true,
    };

    fn get(fields: &Fields<'_>) -> Decision<'static> {
        decide(Method::Get, fields, Some(FILE), 8, 7)
    }

    fn field(decision: &Decision<'_>, wanted: &str) -> Option<String> {
        let mut found = None;
        decision.fields(|name, value| {
            if name == wanted {
                assert_eq!(found.replace(value.to_owned()), None, "{name} once");
            }
        });
        found
    }

    fn range(text: &'static str) -> Fields<'static> {
        Fields {
            range: Some(text.as_bytes().into()),
            ..Fields::default()
        }
    }

    #[test]
    fn a_whole_object() {
        let d = get(&Fields::default());
        assert_eq!((d.status, d.content_length()), (200, Some(1000)));
        for (name, value) in [
            ("Content-Length", "1000"),
            ("Content-Type", "video/mp4"),
            ("ETag", "\"e\""),
            ("Last-Modified", FILE.last_modified),
            ("Accept-Ranges", "bytes"),
            ("Cache-Control", IMMUTABLE),
            ("Access-Control-Allow-Origin", "*"),
            ("Timing-Allow-Origin", "*"),
        ] {
            assert_eq!(field(&d, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(field(&d, "Content-Range"), None);
        let mutable = Representation {
            immutable: false,
            ..FILE
        };
        let d = decide(Method::Get, &Fields::default(), Some(mutable), 8, 7);
        assert_eq!(field(&d, "Cache-Control"), None);
    }

    #[test]
    fn ranges() {
        let one = get(&range("bytes=10-19"));
        assert_eq!((one.status, one.content_length()), (206, Some(10)));
        assert_eq!(field(&one, "Content-Range").as_deref(), Some("bytes 10-19/1000"));
        let none = get(&range("bytes=1000-"));
        assert_eq!(none.status, 416);
        assert_eq!(field(&none, "Content-Range").as_deref(), Some("bytes */1000"));
        assert_eq!(field(&none, "ETag"), None, "a 416 describes no representation");
        let many = get(&range("bytes=0-0,-1"));
        let Body::Parts { parts, tail, .. } = &many.body else {
            panic!("{many:?}")
        };
        let head =
            "\r\n--00000000000000000007\r\nContent-Type: video/mp4\r\nContent-Range: bytes 0-0/1000\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&parts[0].head), head);
        let bytes: usize = parts.iter().map(|p| p.head.len() + 1).sum();
        assert_eq!(many.content_length(), Some((bytes + tail.len()) as u64));
        assert_eq!(field(&many, "Content-Range"), None);
        assert!(
            field(&many, "Content-Type")
                .unwrap()
                .starts_with("multipart/byteranges; boundary=0000")
        );
    }

    #[test]
    fn preconditions_come_before_ranges_and_if_range_decides_whether_they_count() {
        let with = |if_range: &'static str| Fields {
            if_range: Some(if_range.as_bytes().into()),
            ..range("bytes=10-19")
        };
        assert_eq!(get(&with("\"e\"")).status, 206);
        assert_eq!(get(&with("\"old\"")).status, 200);
        assert_eq!(get(&with(FILE.last_modified)).status, 206);
        let not_modified = get(&Fields {
            if_none_match: Some(b"\"e\"".as_slice().into()),
            ..range("bytes=2000-")
        });
        assert_eq!((not_modified.status, not_modified.content_length()), (304, None));
        assert_eq!(field(&not_modified, "ETag").as_deref(), Some("\"e\""));
    }

    #[test]
    fn methods() {
        let head = decide(Method::Head, &range("bytes=0-1"), Some(FILE), 8, 7);
        assert!(head.head_only && head.status == 200 && head.content_length() == Some(1000));
        let options = decide(Method::Options, &Fields::default(), None, 8, 7);
        assert_eq!((options.status, options.content_length()), (204, None));
        assert!(
            field(&options, "Access-Control-Allow-Headers")
                .unwrap()
                .contains("CMCD-Session")
        );
        let other = decide(Method::Other, &Fields::default(), Some(FILE), 8, 7);
        assert_eq!(
            (other.status, field(&other, "Allow").as_deref()),
            (405, Some("GET, HEAD, OPTIONS"))
        );
        // §13.2.1: without a representation the preconditions are not looked at.
        let missing = Fields {
            if_match: Some(b"\"x\"".as_slice().into()),
            ..Fields::default()
        };
        assert_eq!(decide(Method::Get, &missing, None, 8, 7).status, 404);
    }

    #[test]
    fn an_empty_representation_has_an_empty_body() {
        let empty = Representation { size: 0, ..FILE };
        let d = decide(Method::Get, &range("bytes=0-5"), Some(empty), 8, 7);
        assert_eq!(
            (d.status, d.content_length(), d.body),
            (200, Some(0), Body::File(None))
        );
    }

    #[test]
    fn numbers_are_formatted_like_display() {
        for n in [0, 9, 10, 12345, u64::MAX] {
            assert_eq!(Decimal::default().text(n), n.to_string());
        }
    }
}
