//! Just enough of QPACK (RFC 9204) for a client that offers no dynamic table: its own fields are written as literals, and of
//! a response only status and length are read.

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
            integer(0, 7, value.len() as u64, &mut out);
            out.extend_from_slice(value.as_bytes());
        }
    }
    out
}

fn integer(flags: u8, bits: u32, value: u64, out: &mut Vec<u8>) {
    let full = (1_u64 << bits) - 1;
    if value < full {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | full as u8);
    let mut rest = value - full;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Status and `content-length` of a response's field section; absent if it is not one.
pub(super) fn response(section: &[u8]) -> Option<(u16, Option<u64>)> {
    let mut at = Reader(section);
    let required = at.integer(8)?.1;
    at.integer(7)?;
    if required != 0 {
        return None;
    }
    let (mut status, mut length) = (None, None);
    while let Some(&first) = at.0.first() {
        let (name, value) = at.field(first)?;
        match name {
            Name::Status(known) => status = known.or_else(|| number(&value?).and_then(|n| n.try_into().ok())),
            Name::Length => length = value.as_deref().and_then(number),
            Name::Other => {}
        }
    }
    Some((status?, length))
}

enum Name {
    /// With its value, where that is in the static table.
    Status(Option<u16>),
    Length,
    Other,
}

impl Name {
    fn of_index(index: u64) -> Self {
        match STATUSES.iter().find(|(i, _)| *i == index) {
            Some((_, status)) => Self::Status(Some(*status)),
            None if index == CONTENT_LENGTH => Self::Length,
            None => Self::Other,
        }
    }

    /// The same name with another value.
    fn alone(self) -> Self {
        match self {
            Self::Status(_) => Self::Status(None),
            other => other,
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    /// One field line; its value where it is a literal of digits.
    fn field(&mut self, first: u8) -> Option<(Name, Option<Vec<u8>>)> {
        if first & 0b1000_0000 != 0 {
            let (flags, index) = self.integer(6)?;
            // Without a dynamic table only the static one can be meant.
            return (flags & 0b0100_0000 != 0).then(|| match index {
                CONTENT_LENGTH => (Name::Length, Some(b"0".to_vec())),
                index => (Name::of_index(index), None),
            });
        }
        if first & 0b0100_0000 != 0 {
            let (flags, index) = self.integer(4)?;
            let value = self.text(7)?;
            return (flags & 0b0001_0000 != 0).then(|| (Name::of_index(index).alone(), value));
        }
        if first & 0b0010_0000 != 0 {
            let name = self.text(3)?;
            let value = self.text(7)?;
            let name = match name.as_deref() {
                Some(b":status") => Name::Status(None),
                Some(b"content-length") => Name::Length,
                _ => Name::Other,
            };
            return Some((name, value));
        }
        None
    }

    /// A prefixed integer, and the flags before it.
    fn integer(&mut self, bits: u32) -> Option<(u8, u64)> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        let full = (1_u64 << bits) - 1;
        let (flags, mut value) = (first & !(full as u8), u64::from(first) & full);
        if value < full {
            return Some((flags, value));
        }
        for shift in (0..56).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value += u64::from(byte & 127) << shift;
            if byte & 128 == 0 {
                return Some((flags, value));
            }
        }
        None
    }

    /// A string; of those in Huffman's code only digits are read, everything else comes as absent.
    fn text(&mut self, bits: u32) -> Option<Option<Vec<u8>>> {
        let (flags, length) = self.integer(bits)?;
        let length = usize::try_from(length).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let is_coded = flags & (1 << bits) != 0;
        Some(if is_coded {
            coded_digits(text)
        } else {
            Some(text.to_vec())
        })
    }
}

fn number(text: impl AsRef<[u8]>) -> Option<u64> {
    str::from_utf8(text.as_ref()).ok()?.parse().ok()
}

/// Digits in the code of RFC 7541, appendix B: 0 to 2 have five bits, 3 to 9 six; the rest of the last byte is ones.
fn coded_digits(coded: &[u8]) -> Option<Vec<u8>> {
    let bits: Vec<u8> = coded
        .iter()
        .flat_map(|b| (0..8).rev().map(move |i| b >> i & 1))
        .collect();
    let value = |bits: &[u8]| bits.iter().fold(0, |sum, bit| sum << 1 | bit);
    let mut digits = Vec::new();
    let mut rest = bits.as_slice();
    while rest.len() >= 5 {
        let (taken, digit) = match value(&rest[..5]) {
            short @ 0..=2 => (5, short),
            _ => match rest.get(..6).map(value) {
                Some(long @ 0b01_1001..=0b01_1111) => (6, long - 0b01_1001 + 3),
                _ => break,
            },
        };
        digits.push(b'0' + digit);
        rest = &rest[taken..];
    }
    let is_padding = rest.len() < 8 && rest.iter().all(|bit| *bit == 1);
    is_padding.then_some(digits)
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
    fn digits_in_huffmans_code() {
        // RFC 7541, C.6.1: "302" is 6402; C.4 and others: "307" is 640eff.
        assert_eq!(coded_digits(&[0x64, 0x02]), Some(b"302".to_vec()));
        assert_eq!(coded_digits(&[0x64, 0x0e, 0xff]), Some(b"307".to_vec()));
        assert_eq!(coded_digits(&[0xff, 0xff]), None);
    }

    #[test]
    fn a_request_is_read_back() {
        let section = request(false, "a.example:443", "/f.mp4", Some("bytes=0-9"));
        assert_eq!(&section[..4], [0, 0, 0xd1, 0xd7]);
        let mut at = Reader(&section[4..]);
        let mut values = Vec::new();
        while let Some(&first) = at.0.first() {
            values.push(String::from_utf8(at.field(first).unwrap().1.unwrap()).unwrap());
        }
        assert_eq!(values, ["a.example:443", "/f.mp4", "bytes=0-9"]);
    }
}
