//! QPACK (RFC 9204) without a dynamic table: field sections in, field sections out. What would need the table is an
//! error, since we allow it no capacity.

use super::{ErrorCode, fields::FieldLines, huffman, static_table::STATIC_TABLE};

/// Why a field section cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SectionError {
    /// It is larger than we take (RFC 9114 §4.2.2).
    #[error("the field section is too large")]
    TooLarge,
    /// It is no field section, or needs a dynamic table.
    #[error("the field section cannot be decoded")]
    Broken,
}

/// What the size of a field line counts besides its name and value (RFC 9114 §4.2.2).
const LINE: usize = 32;

/// Decodes a field section whose size is at most `most`.
///
/// # Errors
/// When it is larger or broken.
pub fn decode(mut section: &[u8], most: usize) -> Result<FieldLines, SectionError> {
    let input = &mut section;
    let (inserts, _) = integer(input, 8)?;
    let (delta, sign) = integer(input, 7)?;
    if inserts != 0 || (sign & 1 == 1 && delta == 0) {
        return Err(SectionError::Broken); // it needs a table, or its base is below zero
    }
    let mut lines = FieldLines::default();
    let mut left = most;
    while let Some(first) = input.first() {
        let before = lines.bytes();
        match first {
            0x80.. => {
                let (index, pattern) = integer(input, 6)?;
                let (name, value) = entry(index, pattern & 1 == 1)?;
                lines.push(name.as_bytes(), value.as_bytes());
            }
            0x40.. => {
                let (index, pattern) = integer(input, 4)?;
                let (name, _) = entry(index, pattern & 1 == 1)?;
                lines.push_name(name.as_bytes());
                string(input, 7, left, lines.value_space())?;
                lines.end_line();
            }
            0x20.. => {
                string(input, 3, left, lines.name_space())?;
                lines.end_name();
                string(input, 7, left, lines.value_space())?;
                lines.end_line();
            }
            _ => return Err(SectionError::Broken), // both refer to the dynamic table
        }
        let size = lines.bytes() - before + LINE;
        left = left.checked_sub(size).ok_or(SectionError::TooLarge)?;
    }
    Ok(lines)
}

fn entry(index: u64, is_static: bool) -> Result<(&'static str, &'static str), SectionError> {
    let index = usize::try_from(index).ok().filter(|_| is_static);
    let entry = index.and_then(|i| STATIC_TABLE.get(i));
    entry.copied().ok_or(SectionError::Broken)
}

/// An integer with a prefix of `bits` (RFC 7541 §5.1) and the bits before it.
fn integer(input: &mut &[u8], bits: u8) -> Result<(u64, u8), SectionError> {
    let (first, rest) = input.split_first().ok_or(SectionError::Broken)?;
    let mask = ((1u16 << bits) - 1) as u8;
    let before = first.checked_shr(u32::from(bits)).unwrap_or(0);
    *input = rest;
    let mut value = u64::from(first & mask);
    if first & mask < mask {
        return Ok((value, before));
    }
    for shift in (0..62).step_by(7) {
        let (byte, rest) = input.split_first().ok_or(SectionError::Broken)?;
        *input = rest;
        let more = u64::from(byte & 0x7f)
            .checked_mul(1 << shift)
            .ok_or(SectionError::Broken)?;
        value = value.checked_add(more).ok_or(SectionError::Broken)?;
        if byte & 0x80 == 0 {
            return Ok((value, before));
        }
    }
    Err(SectionError::Broken)
}

/// A string literal whose length has a prefix of `bits` (RFC 9204 §4.1.2), at most `most` bytes.
fn string(input: &mut &[u8], bits: u8, most: usize, out: &mut Vec<u8>) -> Result<(), SectionError> {
    let (len, before) = integer(input, bits)?;
    let len = usize::try_from(len).map_err(|_| SectionError::Broken)?;
    let coded = input.get(..len).ok_or(SectionError::Broken)?;
    *input = &input[len..];
    if before & 1 == 0 {
        if len > most {
            return Err(SectionError::TooLarge);
        }
        out.extend_from_slice(coded);
        return Ok(());
    }
    if huffman::decode(coded, most, out) {
        return Ok(());
    }
    // The shortest code has 5 bits: a string that cannot fit is too large rather than broken.
    Err(if len * 8 / 5 > most {
        SectionError::TooLarge
    } else {
        SectionError::Broken
    })
}

/// Writes a field section of a response.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Encoder<'a> {
    /// Begins a section in `out` with its status.
    pub fn response(out: &'a mut Vec<u8>, status: u16) -> Self {
        out.extend_from_slice(&[0, 0]); // no inserts, base 0
        let mut encoder = Self { out };
        let digits = [status / 100, status / 10 % 10, status % 10].map(|d| b'0' + d as u8);
        encoder.field(":status", &String::from_utf8_lossy(&digits));
        encoder
    }

    /// Adds a field; its name is written in lower case.
    pub fn field(&mut self, name: &str, value: &str) {
        let mut named = None;
        for (index, (known, at)) in STATIC_TABLE.iter().enumerate() {
            if known.len() == name.len() && known.eq_ignore_ascii_case(name) {
                if *at == value {
                    return write_integer(self.out, 0xc0, 6, index as u64);
                }
                named = named.or(Some(index));
            }
        }
        if let Some(index) = named {
            write_integer(self.out, 0x50, 4, index as u64);
        } else {
            write_integer(self.out, 0x20, 3, name.len() as u64);
            self.out.extend(name.bytes().map(|b| b.to_ascii_lowercase()));
        }
        write_integer(self.out, 0, 7, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
    }
}

fn write_integer(out: &mut Vec<u8>, pattern: u8, bits: u8, value: u64) {
    let mask = (1u64 << bits) - 1;
    if value < mask {
        return out.push(pattern | value as u8);
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// What a client may send on its encoder stream: that its table has no capacity (RFC 9204 §4.3.1).
///
/// # Errors
/// Of the connection, for everything else.
pub fn encoder_stream(bytes: &[u8]) -> Result<(), ErrorCode> {
    let all = bytes.iter().all(|b| *b == 0x20);
    all.then_some(()).ok_or(ErrorCode::QpackEncoderStreamError)
}

/// A client's decoder stream: since we insert nothing, only cancelled streams can be told (RFC 9204 §4.4.2).
#[derive(Debug, Default)]
pub struct DecoderStream {
    /// Whether a stream's number goes on, and its bytes so far.
    inside: Option<u8>,
}

impl DecoderStream {
    /// Most bytes of a stream's number after the first.
    const LONGEST: u8 = 9;

    /// Takes bytes.
    ///
    /// # Errors
    /// Of the connection, for what speaks of inserts.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ErrorCode> {
        for byte in bytes {
            self.inside = match (self.inside, byte) {
                (Some(_), 0..0x80) | (None, 0x40..0x7f) => None,
                (Some(n), 0x80..) if n < Self::LONGEST => Some(n + 1),
                (None, 0x7f) => Some(0),
                _ => return Err(ErrorCode::QpackDecoderStreamError),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: usize = 16 << 10;

    fn lines(section: &[u8]) -> Result<Vec<(String, String)>, SectionError> {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let lines = decode(section, MOST)?;
        Ok(lines.iter().map(|(n, v)| (text(n), text(v))).collect())
    }

    #[test]
    fn rfc_9204_b_1_literal_field_line_with_name_reference() {
        let section = b"\x00\x00\x51\x0b/index.html";
        assert_eq!(lines(section), Ok(vec![(":path".into(), "/index.html".into())]));
    }

    #[test]
    fn rfc_9204_b_2_to_b_5_need_a_dynamic_table() {
        assert_eq!(
            encoder_stream(b"\x3f\xbd\x01\xc0\x0fwww.example.com\xc1\x0c/sample/path"),
            Err(ErrorCode::QpackEncoderStreamError)
        );
        for section in [
            &b"\x03\x81\x10\x11"[..],
            b"\x05\x00\x80\xc1\x81",
            b"\x00\x00\x80",
            b"\x00\x00\x10",
            b"\x00\x00\x00\x00",
            b"\x00\x80\xd1",
        ] {
            assert_eq!(lines(section), Err(SectionError::Broken), "{section:x?}");
        }
        let mut decoder = DecoderStream::default();
        assert!(decoder.push(b"\x48").is_ok(), "B.3: stream cancellation");
        assert!(decoder.push(b"\x7f\x80").is_ok() && decoder.push(b"\x01\x41").is_ok());
        assert!(DecoderStream::default().push(b"\x84").is_err(), "acknowledgment");
        assert!(DecoderStream::default().push(b"\x01").is_err(), "increment");
        assert!(encoder_stream(b"\x20").is_ok(), "a capacity of 0");
    }

    #[test]
    fn a_request_as_clients_write_it() {
        let mut section =
            b"\x00\x00\xd1\xd7\x50\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff".to_vec();
        section.extend_from_slice(b"\xc1\x27\x05x-long-names\x00\x37\x00range");
        let expected = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "www.example.com"),
            (":path", "/"),
            ("x-long-names", ""),
        ];
        let got = lines(&section[..section.len() - 7]).unwrap();
        assert!(got.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(expected));
    }

    #[test]
    fn size_is_limited_by_the_decoded_size() {
        let small = b"\x00\x00\xc1";
        assert!(decode(small, 6 + LINE).is_ok());
        assert_eq!(decode(small, 5 + LINE).unwrap_err(), SectionError::TooLarge);
        let bomb = [&b"\x00\x00"[..], &[0xc1; 1000]].concat();
        assert_eq!(decode(&bomb, MOST).unwrap_err(), SectionError::TooLarge);
        let long = [&b"\x00\x00\x51\x7f\x81\x7f"[..], &[b'a'; 16384 + 0x7f]].concat();
        assert_eq!(decode(&long, MOST).unwrap_err(), SectionError::TooLarge);
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, most in 0usize..4096) {
            let _ = decode(&bytes, most);
            let _ = encoder_stream(&bytes);
            let _ = DecoderStream::default().push(&bytes);
        }

        #[test]
        fn never_panics_after_a_good_beginning(bytes: Vec<u8>) {
            if let Ok(lines) = decode(&[&[0, 0], &bytes[..]].concat(), 4096) {
                let size: usize = lines.iter().map(|(n, v)| n.len() + v.len() + LINE).sum();
                prop_assert!(size <= 4096);
            }
        }

        #[test]
        fn what_is_written_is_read(status in 100u16..600, fields in proptest::collection::vec(("[A-Za-z-]{1,20}", "[ -~]{0,200}"), 0..8)) {
            let mut out = Vec::new();
            let mut encoder = Encoder::response(&mut out, status);
            let mut expected = vec![(":status".to_owned(), status.to_string())];
            for (name, value) in &fields {
                encoder.field(name, value);
                expected.push((name.to_ascii_lowercase(), value.clone()));
            }
            prop_assert_eq!(lines(&out), Ok(expected));
        }

        #[test]
        fn integers_come_back(value in 0u64..1 << 60, bits in 3u8..=7) {
            let mut out = Vec::new();
            write_integer(&mut out, 0, bits, value);
            let mut input = &out[..];
            prop_assert_eq!(integer(&mut input, bits), Ok((value, 0)));
            prop_assert!(input.is_empty());
        }
    }
}
