//! The Huffman code of HPACK and QPACK (RFC 7541, appendix B). The code is canonical: the lengths alone define it, so
//! the tables are computed from them at compile time.

/// Bits of each byte's code, and of the end of string.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];
/// Longest code.
const LONGEST: usize = 30;
/// Place of the end of string in [`LENGTHS`].
const END: u16 = 256;

/// For each length: the first code, how many there are, and where their symbols begin in [`SYMBOLS`].
const ROWS: [(u32, u32, u32); LONGEST + 1] = rows();
/// Symbols by code.
const SYMBOLS: [u16; 257] = symbols();

const fn rows() -> [(u32, u32, u32); LONGEST + 1] {
    let mut rows = [(0, 0, 0); LONGEST + 1];
    let (mut len, mut code, mut start) = (1, 0u32, 0);
    while len <= LONGEST {
        code <<= 1;
        let (mut symbol, mut count) = (0, 0);
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == len {
                count += 1;
            }
            symbol += 1;
        }
        rows[len] = (code, count, start);
        code += count;
        start += count;
        len += 1;
    }
    rows
}

const fn symbols() -> [u16; 257] {
    let mut symbols = [0; 257];
    let (mut len, mut at) = (1, 0);
    while len <= LONGEST {
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == len {
                symbols[at] = symbol as u16;
                at += 1;
            }
            symbol += 1;
        }
        len += 1;
    }
    symbols
}

/// Appends what `coded` stands for; false if it is no valid string or longer than `most`.
pub fn decode(coded: &[u8], most: usize, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let (mut code, mut len) = (0u32, 0usize);
    for byte in coded {
        for shift in (0..8).rev() {
            code = (code << 1) | u32::from((byte >> shift) & 1);
            len += 1;
            if len > LONGEST {
                return false;
            }
            let (first, count, at) = ROWS[len];
            let Some(place) = code.checked_sub(first).filter(|place| *place < count) else {
                continue;
            };
            let symbol = SYMBOLS[(at + place) as usize];
            if symbol == END || out.len() - start == most {
                return false;
            }
            out.push(symbol as u8);
            (code, len) = (0, 0);
        }
    }
    // The padding is the beginning of the end of string, less than a byte of it (RFC 7541 §5.2).
    len < 8 && code == (1 << len) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(text: &[u8]) -> Vec<u8> {
        let code = |symbol: u8| {
            let len = usize::from(LENGTHS[usize::from(symbol)]);
            let (first, count, at) = ROWS[len];
            let place = (0..count).find(|p| SYMBOLS[(at + p) as usize] == u16::from(symbol));
            (first + place.unwrap(), len)
        };
        let mut bits: Vec<bool> = Vec::new();
        for symbol in text {
            let (code, len) = code(*symbol);
            bits.extend((0..len).rev().map(|shift| (code >> shift) & 1 == 1));
        }
        bits.resize(bits.len().div_ceil(8) * 8, true);
        let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| (byte << 1) | u8::from(*bit));
        bits.chunks(8).map(byte).collect()
    }

    fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(coded, 4096, &mut out).then_some(out)
    }

    #[test]
    fn the_examples_of_rfc_7541_c_4() {
        let url = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decoded(&url).unwrap(), b"www.example.com");
        assert_eq!(encode(b"www.example.com"), url);
        assert_eq!(
            decoded(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(),
            b"no-cache"
        );
    }

    #[test]
    fn wrong_padding_and_the_end_of_string_are_refused() {
        assert_eq!(decoded(&[0xff]), None, "a whole byte of padding");
        assert_eq!(decoded(&[0x00]), None, "padding of zeros");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None, "the end of string");
        assert!(!decode(&encode(b"abc"), 2, &mut Vec::new()), "longer than wanted");
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = decoded(&bytes);
        }

        #[test]
        fn comes_back(text: Vec<u8>) {
            prop_assert_eq!(decoded(&encode(&text)), Some(text));
        }
    }
}
