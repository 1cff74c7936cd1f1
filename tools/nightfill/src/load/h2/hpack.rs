//! Just enough of HPACK (RFC 7541) for a client that allows the server no dynamic table.

use super::super::fields::{Answer, Field, Name, Reader, integer, text};

/// Indices of the static table: fields that are there whole, names that a literal value follows.
const METHOD_GET: u64 = 2;
const METHOD: u64 = 2;
const SCHEME_HTTP: u64 = 6;
const SCHEME_HTTPS: u64 = 7;
const AUTHORITY: u64 = 1;
const PATH: u64 = 4;
const CONTENT_LENGTH: u64 = 28;
const RANGE: u64 = 50;
/// `:status` values of the static table.
const STATUSES: [(u64, u16); 7] = [
    (8, 200),
    (9, 204),
    (10, 206),
    (11, 304),
    (12, 400),
    (13, 404),
    (14, 500),
];
/// Last index of the static table.
const STATIC: u64 = 61;

/// The field section of a request.
pub(super) fn request(head: bool, https: bool, authority: &str, path: &str, range: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut named = |name: u64, value: &str| {
        integer(0, 4, name, &mut out);
        text(value, &mut out);
    };
    named(AUTHORITY, authority);
    named(PATH, path);
    if head {
        named(METHOD, "HEAD");
    }
    if let Some(range) = range {
        named(RANGE, range);
    }
    // Pseudo-fields come first: the whole ones before the literals.
    let mut section = Vec::new();
    if !head {
        integer(0x80, 7, METHOD_GET, &mut section);
    }
    integer(
        0x80,
        7,
        if https { SCHEME_HTTPS } else { SCHEME_HTTP },
        &mut section,
    );
    section.append(&mut out);
    section
}

/// Status and `content-length` of a response's field section; absent if it is not one.
pub(super) fn response(section: &[u8]) -> Option<(u16, Option<u64>)> {
    let mut at = Reader(section);
    let mut answer = Answer::default();
    while let Some(&first) = at.0.first() {
        if let Some(field) = field(&mut at, first)? {
            answer.take(field)?;
        }
    }
    answer.finish()
}

/// One field line; nothing for the note that the table is as small as we said.
fn field(at: &mut Reader<'_>, first: u8) -> Option<Option<Field>> {
    if first & 0b1000_0000 != 0 {
        let (_, index) = at.integer(7)?;
        return (1..=STATIC).contains(&index).then(|| Some((name(index), None)));
    }
    if first & 0b1110_0000 == 0b0010_0000 {
        let (_, size) = at.integer(5)?;
        return (size == 0).then_some(None);
    }
    let (_, index) = at.integer(if first & 0b0100_0000 != 0 { 6 } else { 4 })?;
    let name = match index {
        0 => Name::of(at.text(7)?.as_deref()),
        1..=STATIC => name(index).alone(),
        _ => return None,
    };
    Some(Some((name, at.text(7)?)))
}

fn name(index: u64) -> Name {
    match STATUSES.iter().find(|(i, _)| *i == index) {
        Some((_, status)) => Name::Status(Some(*status)),
        None if index == CONTENT_LENGTH => Name::Length,
        None => Name::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_length_are_found_among_other_fields() {
        // The table is emptied; :status 206; content-length: 302 in Huffman's code, to be indexed; x: y with a literal name.
        let mut section = vec![0x20, 0x8a, 0x5c, 0x82, 0x64, 0x02];
        section.extend([0, 1, b'x', 1, b'y']);
        assert_eq!(response(&section), Some((206, Some(302))));
        // :status 429, not indexed.
        assert_eq!(response(&[0x08, 3, b'4', b'2', b'9']), Some((429, None)));
        assert_eq!(response(&section[..4]), None, "cut");
        assert_eq!(response(&[0xbe]), None, "a dynamic table");
    }

    #[test]
    fn a_request_has_its_pseudo_fields_first() {
        let section = request(false, true, "a:1", "/f", Some("bytes=0-9"));
        assert_eq!(&section[..7], [0x82, 0x87, 1, 3, b'a', b':', b'1']);
        assert!(section.ends_with(b"bytes=0-9") && section[11..13] == [0x0f, 35]);
    }
}
