//! What HPACK (RFC 7541) and QPACK (RFC 9204) have in common, for a client that offers no dynamic table: integers with a prefix,
//! strings, and of Huffman's code the digits, since of a response only status and length are read.

/// What a field's name means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// `:status`, with its value where that is known from a static table.
    Status(Option<u16>),
    /// `content-length`.
    Length,
    /// Anything else.
    Other,
}

impl Name {
    /// Of a literal name.
    pub(super) fn of(text: Option<&[u8]>) -> Self {
        match text {
            Some(b":status") => Self::Status(None),
            Some(b"content-length") => Self::Length,
            _ => Self::Other,
        }
    }

    /// The same name with another value.
    pub(super) fn alone(self) -> Self {
        match self {
            Self::Status(_) => Self::Status(None),
            other => other,
        }
    }
}

/// A field line's name, and its value where that is a literal that could be read.
pub(super) type Field = (Name, Option<Vec<u8>>);

/// Status and length among field lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    status: Option<u16>,
    length: Option<u64>,
}

impl Answer {
    /// Looks at one more field; absent if it is a status that cannot be read.
    pub(super) fn take(&mut self, (name, value): Field) -> Option<()> {
        match name {
            Name::Status(Some(known)) => self.status = Some(known),
            Name::Status(None) => self.status = Some(number(&value?)?.try_into().ok()?),
            Name::Length => self.length = value.as_deref().and_then(number),
            Name::Other => {}
        }
        Some(())
    }

    /// Both, if there was a status.
    pub(super) fn finish(self) -> Option<(u16, Option<u64>)> {
        Some((self.status?, self.length))
    }
}

/// Appends an integer whose prefix has so many bits, after some flags.
pub(super) fn integer(flags: u8, bits: u32, value: u64, out: &mut Vec<u8>) {
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

/// Appends a string as it is.
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    integer(0, 7, text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// What of a field section is still to be read.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    /// A prefixed integer, and the flags before it.
    pub(super) fn integer(&mut self, bits: u32) -> Option<(u8, u64)> {
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
    pub(super) fn text(&mut self, bits: u32) -> Option<Option<Vec<u8>>> {
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

fn number(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok()
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
    fn digits_in_huffmans_code() {
        // RFC 7541, C.6.1: "302" is 6402; C.4 and others: "307" is 640eff.
        assert_eq!(coded_digits(&[0x64, 0x02]), Some(b"302".to_vec()));
        assert_eq!(coded_digits(&[0x64, 0x0e, 0xff]), Some(b"307".to_vec()));
        assert_eq!(coded_digits(&[0xff, 0xff]), None);
    }

    #[test]
    fn integers_are_read_back() {
        for value in [0, 30, 31, 127, 128, 1337, u64::from(u32::MAX)] {
            let mut out = Vec::new();
            integer(0b1010_0000, 5, value, &mut out);
            assert_eq!(Reader(&out).integer(5), Some((0b1010_0000, value)));
        }
    }
}
