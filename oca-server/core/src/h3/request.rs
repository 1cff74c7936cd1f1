//! A request stream (RFC 9114 §4.1): a head, content, perhaps trailers, and the rules that make it well-formed. What is
//! malformed ends its stream; what breaks the framing ends the connection.

use super::{
    ErrorCode, Fault,
    fields::FieldLines,
    frame::{Event, Frames, Kind},
    qpack::{self, SectionError},
};

/// Fields that speak of a connection, which HTTP/3 has none of (§4.2).
const CONNECTION_FIELDS: [&[u8]; 5] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
];

const MALFORMED: ErrorCode = ErrorCode::MessageError;

/// A well-formed head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    lines: FieldLines,
    method: usize,
    path: Option<usize>,
    authority: Option<usize>,
    /// Content-Length.
    pub content_length: Option<u64>,
}

impl Head {
    /// Checks a field section by §4.2 and §4.3.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn parse(lines: FieldLines) -> Result<Self, ErrorCode> {
        let mut seen = Seen::default();
        for (index, (name, value)) in lines.iter().enumerate() {
            seen.take(index, name, value)?;
        }
        let text = |index: Option<usize>| index.and_then(|i| lines.line(i)).map(|(_, value)| value);
        let method = seen.method.ok_or(MALFORMED)?;
        let (host, authority) = (text(seen.host), text(seen.authority));
        if text(Some(method)) == Some(b"CONNECT") {
            if seen.scheme.is_some() || seen.path.is_some() || authority.is_none() {
                return Err(MALFORMED); // §4.4
            }
        } else {
            let scheme = text(seen.scheme).ok_or(MALFORMED)?;
            let web = scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"http");
            let named = authority.or(host);
            if !is_path(text(seen.path).ok_or(MALFORMED)?) || (web && named.is_none_or(<[u8]>::is_empty)) {
                return Err(MALFORMED);
            }
        }
        if matches!((host, authority), (Some(h), Some(a)) if !h.eq_ignore_ascii_case(a)) {
            return Err(MALFORMED);
        }
        Ok(Self {
            method,
            path: seen.path,
            authority: seen.authority.or(seen.host),
            content_length: seen.content_length,
            lines,
        })
    }

    fn text(&self, index: Option<usize>) -> Option<&str> {
        let (_, value) = self.lines.line(index?)?;
        std::str::from_utf8(value).ok()
    }

    /// :method
    pub fn method(&self) -> &str {
        self.text(Some(self.method)).unwrap_or_default()
    }

    /// :path; `*` for a CONNECT, which has none.
    pub fn path(&self) -> &str {
        self.text(self.path).unwrap_or("*")
    }

    /// :authority, or Host without it.
    pub fn authority(&self) -> Option<&str> {
        self.text(self.authority)
    }

    /// The fields, without pseudo-fields.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let field = |(name, value)| Some((std::str::from_utf8(name).ok()?, value));
        self.lines
            .iter()
            .filter(|(name, _)| !name.starts_with(b":"))
            .filter_map(field)
    }
}

/// Where the lines that matter stand.
#[derive(Debug, Default)]
struct Seen {
    method: Option<usize>,
    scheme: Option<usize>,
    path: Option<usize>,
    authority: Option<usize>,
    host: Option<usize>,
    content_length: Option<u64>,
    regular: bool,
}

impl Seen {
    fn take(&mut self, index: usize, name: &[u8], value: &[u8]) -> Result<(), ErrorCode> {
        if !is_value(value) {
            return Err(MALFORMED);
        }
        if !name.starts_with(b":") {
            self.regular = true;
            return self.take_regular(index, name, value);
        }
        let (slot, valid) = match name {
            b":method" => (&mut self.method, !value.is_empty() && value.iter().all(is_token)),
            b":scheme" => (&mut self.scheme, !value.is_empty()),
            b":path" => (&mut self.path, true),
            b":authority" => (&mut self.authority, is_authority(value)),
            _ => return Err(MALFORMED),
        };
        if self.regular || !valid || slot.replace(index).is_some() {
            return Err(MALFORMED);
        }
        Ok(())
    }

    fn take_regular(&mut self, index: usize, name: &[u8], value: &[u8]) -> Result<(), ErrorCode> {
        regular_field(name, value)?;
        match name {
            b"host" if self.host.replace(index).is_some() || !is_authority(value) => Err(MALFORMED),
            b"content-length" => {
                let length = decimal(value).ok_or(MALFORMED)?;
                match self.content_length.replace(length) {
                    Some(_) => Err(MALFORMED),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

/// Checks a line that is no pseudo-field, in a head or in trailers.
fn regular_field(name: &[u8], value: &[u8]) -> Result<(), ErrorCode> {
    let lower = |b: &u8| is_token(b) && !b.is_ascii_uppercase();
    if name.is_empty() || !name.iter().all(lower) || !is_value(value) || CONNECTION_FIELDS.contains(&name) {
        return Err(MALFORMED);
    }
    if name == b"te" && value != b"trailers" {
        return Err(MALFORMED);
    }
    Ok(())
}

/// tchar (RFC 9110 §5.6.2).
fn is_token(b: &u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b)
}

/// A field's value (RFC 9110 §5.5): nothing that could end a line elsewhere.
fn is_value(value: &[u8]) -> bool {
    let allowed = |b: &u8| *b == b'\t' || (*b >= b' ' && *b != 0x7f);
    value.iter().all(allowed) && value.trim_ascii().len() == value.len()
}

/// Not empty, without blanks, readable as text.
fn is_path(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|b| *b > b' ' && *b != 0x7f) && std::str::from_utf8(value).is_ok()
}

/// `uri-host [ ":" port ]` by its characters, without user information (§4.3.1).
fn is_authority(value: &[u8]) -> bool {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(b);
    value.iter().all(allowed)
}

fn decimal(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    digits
        .then(|| std::str::from_utf8(value).ok()?.parse().ok())
        .flatten()
}

/// What came on a request stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The head.
    Head(Box<Head>),
    /// A head larger than we take: to be answered 431.
    TooLarge,
    /// That many bytes of content, which nobody wants.
    Content(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Content,
    Trailers,
}

/// Reads a request stream.
#[derive(Debug)]
pub struct RequestStream {
    frames: Frames,
    stage: Stage,
    most: usize,
    expected: Option<u64>,
    received: u64,
}

impl RequestStream {
    /// At the stream's beginning; `most` is the largest field section taken.
    pub fn new(most: usize) -> Self {
        Self {
            frames: Frames::new(most as u64),
            stage: Stage::Head,
            most,
            expected: None,
            received: 0,
        }
    }

    /// Whether the head is still to come.
    pub fn wants_head(&self) -> bool {
        self.stage == Stage::Head
    }

    /// Takes bytes from the front of `input` up to the next thing that came; absent = all of it was taken.
    ///
    /// # Errors
    /// When the request is malformed or the framing broken.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, Fault> {
        while let Some(event) = self.frames.next(input).map_err(Fault::Connection)? {
            match event {
                Event::Begins(kind) => self.begins(kind)?,
                Event::Content(bytes) => {
                    let bytes = bytes.len() as u64;
                    self.received += bytes;
                    if self.expected.is_some_and(|expected| self.received > expected) {
                        return Err(Fault::Stream(MALFORMED));
                    }
                    return Ok(Some(Incoming::Content(bytes)));
                }
                Event::TooLong if self.stage == Stage::Head => return Ok(Some(self.too_large())),
                Event::TooLong => self.stage = Stage::Trailers,
                Event::Whole(_, section) if self.stage == Stage::Head => {
                    return self.head(&section).map(Some);
                }
                Event::Whole(_, section) => self.trailers(&section)?,
            }
        }
        Ok(None)
    }

    fn begins(&self, kind: Kind) -> Result<(), Fault> {
        let allowed = match kind {
            Kind::Data => self.stage == Stage::Content,
            Kind::Headers => self.stage != Stage::Trailers,
            _ => false,
        };
        allowed
            .then_some(())
            .ok_or(Fault::Connection(ErrorCode::FrameUnexpected))
    }

    fn too_large(&mut self) -> Incoming {
        self.stage = Stage::Content;
        Incoming::TooLarge
    }

    fn head(&mut self, section: &[u8]) -> Result<Incoming, Fault> {
        let lines = match qpack::decode(section, self.most) {
            Ok(lines) => lines,
            Err(SectionError::TooLarge) => return Ok(self.too_large()),
            Err(SectionError::Broken) => {
                return Err(Fault::Connection(ErrorCode::QpackDecompressionFailed));
            }
        };
        let head = Head::parse(lines).map_err(Fault::Stream)?;
        self.stage = Stage::Content;
        self.expected = head.content_length;
        Ok(Incoming::Head(Box::new(head)))
    }

    fn trailers(&mut self, section: &[u8]) -> Result<(), Fault> {
        self.stage = Stage::Trailers;
        match qpack::decode(section, self.most) {
            Ok(lines) => lines
                .iter()
                .try_for_each(|(name, value)| regular_field(name, value).map_err(Fault::Stream)),
            Err(SectionError::TooLarge) => Ok(()), // nobody reads them
            Err(SectionError::Broken) => Err(Fault::Connection(ErrorCode::QpackDecompressionFailed)),
        }
    }

    /// The client has ended the stream.
    ///
    /// # Errors
    /// When the request is not whole.
    pub fn end(&self) -> Result<(), Fault> {
        if !self.frames.is_between() {
            return Err(Fault::Connection(ErrorCode::FrameError));
        }
        if self.stage == Stage::Head {
            return Err(Fault::Stream(ErrorCode::RequestIncomplete));
        }
        if self.expected.is_some_and(|expected| expected != self.received) {
            return Err(Fault::Stream(MALFORMED));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h3::frame;
    use proptest::prelude::*;

    type Lines<'a> = Vec<(&'a str, &'a str)>;

    fn get<'a>() -> Lines<'a> {
        vec![
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "h:1"),
            (":path", "/a?b"),
        ]
    }

    fn parse(lines: &[(&str, &str)]) -> Result<Head, ErrorCode> {
        let mut fields = FieldLines::default();
        for (name, value) in lines {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        Head::parse(fields)
    }

    fn with<'a>(more: &[(&'a str, &'a str)]) -> Lines<'a> {
        [&get()[..], more].concat()
    }

    #[test]
    fn a_head_is_taken_apart() {
        let head = parse(&with(&[("range", "bytes=0-1"), ("te", "trailers")])).unwrap();
        assert_eq!(
            (head.method(), head.path(), head.authority()),
            ("GET", "/a?b", Some("h:1"))
        );
        assert!(
            head.fields()
                .eq([("range", &b"bytes=0-1"[..]), ("te", &b"trailers"[..])])
        );
        let by_host = [&get()[..2], &[(":path", "/"), ("host", "h")]].concat();
        assert_eq!(parse(&by_host).unwrap().authority(), Some("h"));
        let connect = [(":method", "CONNECT"), (":authority", "h:1")];
        assert_eq!(parse(&connect).unwrap().path(), "*");
    }

    #[test]
    fn malformed_heads_are_refused() {
        let more: [&[(&str, &str)]; 19] = [
            &[(":method", "GET")],
            &[(":status", "200")],
            &[("x", "y"), (":scheme", "https")],
            &[("Range", "bytes=0-1")],
            &[("a b", "")],
            &[("", "x")],
            &[("x", "a\nb")],
            &[("x", "a\0")],
            &[("x", " a")],
            &[("connection", "close")],
            &[("transfer-encoding", "chunked")],
            &[("upgrade", "h2c")],
            &[("te", "gzip")],
            &[("host", "other")],
            &[("host", "h:1"), ("host", "h:1")],
            &[("content-length", "1"), ("content-length", "1")],
            &[("content-length", "-1")],
            &[("content-length", "")],
            &[(":path", "/b")],
        ];
        for more in more {
            assert_eq!(parse(&with(more)), Err(MALFORMED), "{more:?}");
        }
        for left_out in [0, 1, 2, 3] {
            let mut lines = get();
            lines.remove(left_out);
            assert_eq!(parse(&lines), Err(MALFORMED), "without line {left_out}");
        }
        for (at, value) in [
            (0, "G T"),
            (0, ""),
            (1, ""),
            (2, ""),
            (2, "u@h"),
            (3, ""),
            (3, "/a b"),
        ] {
            let mut lines = get();
            lines[at].1 = value;
            assert_eq!(parse(&lines), Err(MALFORMED), "{lines:?}");
        }
        assert!(parse(&[(":method", "CONNECT"), (":authority", "h"), (":path", "/")]).is_err());
    }

    /// A section by the encoder of responses with its status taken out.
    fn section(lines: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = qpack::Encoder::response(&mut out, 200);
        for (name, value) in lines {
            encoder.field(name, value);
        }
        out.remove(2); // :status 200 is one byte
        out
    }

    fn headers(lines: &[(&str, &str)]) -> Vec<u8> {
        let section = section(lines);
        let mut out = Vec::new();
        frame::head(Kind::Headers, section.len() as u64, &mut out);
        out.extend_from_slice(&section);
        out
    }

    fn data(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frame::head(Kind::Data, bytes.len() as u64, &mut out);
        out.extend_from_slice(bytes);
        out
    }

    /// Heads and bytes of content of a stream that ends after `bytes`.
    fn read(bytes: &[u8]) -> Result<(usize, u64), Fault> {
        let mut stream = RequestStream::new(1024);
        let (mut heads, mut content) = (0, 0);
        let mut input = bytes;
        while let Some(incoming) = stream.next(&mut input)? {
            match incoming {
                Incoming::Head(_) | Incoming::TooLarge => heads += 1,
                Incoming::Content(n) => content += n,
            }
        }
        stream.end()?;
        Ok((heads, content))
    }

    #[test]
    fn content_is_as_long_as_it_says() {
        let sized = headers(&with(&[("content-length", "5")]));
        assert_eq!(
            read(&[&sized[..], &data(b"he"), &data(b"llo")].concat()),
            Ok((1, 5))
        );
        for wrong in [&b"hell"[..], b"hello!"] {
            assert_eq!(
                read(&[&sized[..], &data(wrong)].concat()),
                Err(Fault::Stream(MALFORMED))
            );
        }
        let trailers = headers(&[("x", "y")]);
        assert_eq!(
            read(&[&sized[..], &data(b"hello"), &trailers].concat()),
            Ok((1, 5))
        );
    }

    #[test]
    fn frames_in_the_wrong_place_end_the_connection() {
        let unexpected = Err(Fault::Connection(ErrorCode::FrameUnexpected));
        let (head, trailers) = (headers(&get()), headers(&[("x", "y")]));
        assert_eq!(read(&data(b"x")), unexpected);
        assert_eq!(read(&[4, 0]), unexpected);
        assert_eq!(read(&[5, 0]), unexpected);
        assert_eq!(read(&[&head[..], &trailers, &trailers].concat()), unexpected);
        assert_eq!(read(&[&head[..], &trailers, &data(b"x")].concat()), unexpected);
        assert_eq!(
            read(&head[..head.len() - 1]),
            Err(Fault::Connection(ErrorCode::FrameError))
        );
        assert_eq!(read(&[]), Err(Fault::Stream(ErrorCode::RequestIncomplete)));
        let pseudo = headers(&[(":path", "/")]);
        assert_eq!(
            read(&[&head[..], &pseudo].concat()),
            Err(Fault::Stream(MALFORMED))
        );
    }

    #[test]
    fn a_head_that_is_too_large_is_told_apart() {
        let long = "x".repeat(1000);
        let bytes = headers(&with(&[("x", &long)]));
        let mut stream = RequestStream::new(1024);
        assert_eq!(stream.next(&mut &bytes[..]), Ok(Some(Incoming::TooLarge)));
        assert_eq!(read(&bytes), Ok((1, 0)));
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }

        #[test]
        fn never_panics_on_mutations(at in 0usize..80, byte: u8, cut in 0usize..200) {
            let mut bytes = [headers(&with(&[("content-length", "5"), ("user-agent", "x")])), data(b"hello")].concat();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = read(&bytes);
        }
    }
}
