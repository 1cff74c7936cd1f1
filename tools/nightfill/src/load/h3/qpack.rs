//! Just enough of QPACK (RFC 9204) for a client that offers no dynamic table: its own fields are written as literals, and of
//! a response only status and length are read.

use super::super::fields::{Answer, Field, Name, Reader, integer, text};

/// Indices of the static table: fields that are there whole, names that a literal value follows.
const METHOD_GET: u8 = 17;
const METHOD_HEAD: u8 = 18;
const SCHEME_HTTPS: u8 = 23;
const AUTHORITY: u64 = 0;
const PATH: u64 = 1;
const CONTENT_LENGTH: u64 = 4;
const RANGE: u64 = 55;
/// `:status` values of the static table.
const STATUSES: [(u64, u16); 14] = [
    (24, 103),
    (25, 200),
    (26, 304),
    (27, 404),
    (28, 503),
    (63, 100),
    (64, 204),
    (65, 206),
    (66, 302),
    (67, 400),
    (68, 403),
    (69, 421),
    (70, 425),
    (71, 500),
];
/// Flags of an indexed static field.
const INDEXED: u8 = 0b1100_0000;
/// Flags of a literal value with a name of the static table, and the bits that the index has there.
const NAMED: (u8, u32) = (0b0101_0000, 4);

/// The field section of a request.
pub(super) fn request(head: bool, authority: &str, path: &str, range: Option<&str>) -> Vec<u8> {
    // Neither part of the prefix refers to a dynamic table.
    let mut out = vec![0, 0];
    out.push(INDEXED | if head { METHOD_HEAD } else { METHOD_GET });
    out.push(INDEXED | SCHEME_HTTPS);
    for (name, value) in [(AUTHORITY, Some(authority)), (PATH, Some(path)), (RANGE, range)] {
        if let Some(value) = value {
            integer(NAMED.0, NAMED.1, name, &mut out);
            text(value, &mut out);
        }
    }
    out
}

/// Status and `content-length` of a response's field section; absent if it is not one.
pub(super) fn response(section: &[u8]) -> Option<(u16, Option<u64>)> {
    let mut at = Reader(section);
    let required = at.integer(8)?.1;
    at.integer(7)?;
    if required != 0 {
        return None;
    }
    let mut answer = Answer::default();
    while let Some(&first) = at.0.first() {
        answer.take(field(&mut at, first)?)?;
    }
    answer.finish()
}

fn name(index: u64) -> Name {
    match STATUSES.iter().find(|(i, _)| *i == index) {
        Some((_, status)) => Name::Status(Some(*status)),
        None if index == CONTENT_LENGTH => Name::Length,
        None => Name::Other,
    }
}

/// One field line. Without a dynamic table only the static one can be meant.
fn field(at: &mut Reader<'_>, first: u8) -> Option<Field> {
    if first & 0b1000_0000 != 0 {
        let (flags, index) = at.integer(6)?;
        return (flags & 0b0100_0000 != 0).then(|| match index {
            CONTENT_LENGTH => (Name::Length, Some(b"0".to_vec())),
            index => (name(index), None),
        });
    }
    if first & 0b0100_0000 != 0 {
        let (flags, index) = at.integer(4)?;
        let value = at.text(7)?;
        return (flags & 0b0001_0000 != 0).then(|| (name(index).alone(), value));
    }
    if first & 0b0010_0000 != 0 {
        let name = at.text(3)?;
        return Some((Name::of(name.as_deref()), at.text(7)?));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_length_are_found_among_other_fields() {
        // :status 206, server: x (named), content-length: 65536 (named), x: y (literal name).
        let mut section = vec![0, 0, INDEXED | 63, 2];
        section.extend([0b0101_1111, 92 - 15, 1, b'x', 0b0101_0100, 5]);
        section.extend(b"65536");
        section.extend([0b0010_0001, b'x', 1, b'y']);
        assert_eq!(response(&section), Some((206, Some(65536))));
        assert_eq!(response(&section[..section.len() - 1]), None, "cut");
        assert_eq!(response(&[1, 0]), None, "a dynamic table");
        // :status 429 as a literal with the static name.
        let literal = [0, 0, 0b0101_1111, 24 - 15, 3, b'4', b'2', b'9'];
        assert_eq!(response(&literal), Some((429, None)));
    }

    #[test]
    fn a_request_is_read_back() {
        let section = request(false, "a.example:443", "/f.mp4", Some("bytes=0-9"));
        assert_eq!(&section[..4], [0, 0, 0xd1, 0xd7]);
        let mut at = Reader(&section[4..]);
        let mut values = Vec::new();
        while let Some(&first) = at.0.first() {
            values.push(String::from_utf8(field(&mut at, first).unwrap().1.unwrap()).unwrap());
        }
        assert_eq!(values, ["a.example:443", "/f.mp4", "bytes=0-9"]);
    }
}
