//! What the fuzz targets run: each takes any bytes as one of the things that strangers, drives or the network hand to
//! this program, and panics when a promise is broken. `fuzz/` feeds them by libFuzzer, `tests/fuzz_corpus.rs` by the kept
//! corpus and seeded changes to it. Nothing else calls them.

pub use bgp::bgp_update;

use crate::{
    http::{
        Protocol,
        head::{self, Content, Head},
    },
    store::index::Index,
    tls::{
        aead::Provider,
        record::{self, MAX_PLAIN, Opener, Sealer},
    },
};
use cdn_types::{
    plan::{AppliancePlan, Plan},
    title::is_plain_path,
};
use oca_core::{
    h3::{
        Fault, control, qpack,
        request::{Head as H3Head, Incoming, RequestStream},
    },
    path::Target,
    range::select,
};
use ring::rand::SystemRandom;
use rustls::{
    ConnectionTrafficSecrets, ProtocolVersion,
    crypto::cipher::{AeadKey, Iv},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Debug, sync::LazyLock};
use url_signing::{Address, KeySet, Life, Request, Uri, Verifier, find_in_target, mint_cat, mint_jwt};

mod bgp;
#[path = "../core/tests/range_model/model.rs"]
mod range_model;

/// A target: the name of its corpus, and what it does with any bytes.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [FuzzTarget; 8] = [
    ("request_head", request_head),
    ("range", range),
    ("h3_request", h3_request),
    ("tls_record", tls_record),
    ("plan", plan),
    ("index", index),
    ("bgp_update", bgp_update),
    ("signed_url", signed_url),
];

/// The head of an HTTP/1 request: what is taken means the same to a naive reader, and its target leads nowhere else.
pub fn request_head(bytes: &[u8]) {
    let Ok(Some(head)) = head::parse(bytes) else {
        return;
    };
    assert!(head.len <= bytes.len());
    let alone = head::parse(&bytes[..head.len]).ok().flatten();
    assert_eq!(
        alone.map(|h| (h.len, h.content, h.keep_alive)),
        Some((head.len, head.content, head.keep_alive)),
        "what follows a head changes it"
    );
    for len in [0, head.len / 2, head.len.saturating_sub(1)] {
        assert!(
            !matches!(head::parse(&bytes[..len]), Ok(Some(_))),
            "a part of a head was taken as whole"
        );
    }
    framing_is_plain(&head, &bytes[..head.len]);
    if let Ok(target) = Target::parse(head.target) {
        let path = &target.path;
        let inside = path.starts_with('/') && !path.contains("//") && !path.contains('\0');
        let steps = path.split('/').any(|segment| matches!(segment, "." | ".."));
        assert!(path == "*" || (inside && !steps), "{path:?}");
    }
}

/// A request target in which a byte 1 stands for a good JWT for `/t/a/1/` and a byte 2 for a good CWT for it: what is granted
/// is looked up below that folder, and nothing is granted without one of the two.
pub fn signed_url(bytes: &[u8]) {
    static SET: LazyLock<(KeySet, [String; 2])> = LazyLock::new(|| {
        let random = SystemRandom::new();
        let keys = r#"{"a":{"renewal_kid":"1","keys":[{"kty":"oct","kid":"1","k":"Kh_RkUMj-fzbD37qBnDf_3e_RvQ3RP9PaSmVEpE24AM"}]}}"#;
        let set = KeySet::parse(keys, &random).expect("a good key file");
        let life = Life {
            end: 2000,
            renewal: None,
        };
        let issuer = set.issuer("a").expect("it is in the file");
        let jwt = mint_jwt(issuer, Address::Below("/t/a/1"), life, None, &random).expect("it signs");
        let cat = mint_cat(issuer, "/t/a/1", 2000, None, &random).expect("it signs");
        (set, [jwt, cat])
    });
    let (keys, [jwt, cat]) = &*SET;
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let target = text.replace('\u{1}', jwt).replace('\u{2}', cat);
    let Ok(Some(carried)) = find_in_target("Pkg", &target) else {
        return;
    };
    assert!(carried.target.len() + carried.token.len() < target.len());
    let verifier = Verifier { keys, audience: None };
    let Ok(uri) = Uri::new("https", "h", &carried.target) else {
        return;
    };
    let request = Request {
        uri: &uri,
        method: "GET",
        protocol: "h2",
    };
    let granted = verifier
        .open(carried.token)
        .and_then(|grant| grant.check(&request, 1000));
    if granted.is_ok() {
        assert!(carried.token.trim_end_matches('=') == jwt || carried.token.trim_end_matches('=') == cat);
        if let Ok(served) = Target::parse(&carried.target) {
            assert!(served.path.starts_with("/t/a/1/"), "{} by {target}", served.path);
        }
    }
}

/// How the content is delimited, by looking at the lines as a careless program would.
fn framing_is_plain(head: &Head<'_>, bytes: &[u8]) {
    let mut seen = [("host", 0), ("content-length", 0), ("transfer-encoding", 0)];
    for line in bytes.split(|b| matches!(b, b'\n' | b'\r')).skip(1) {
        let name = line.split(|b| *b == b':').next().unwrap_or_default();
        for (known, times) in &mut seen {
            *times += usize::from(name.trim_ascii().eq_ignore_ascii_case(known.as_bytes()));
        }
    }
    let [hosts, lengths, codings] = seen.map(|(_, times)| times);
    let http10 = head.protocol == Protocol::Http10;
    assert!(hosts == 1 || (http10 && hosts == 0), "{hosts} hosts");
    assert!(lengths + codings <= 1, "{lengths} lengths, {codings} codings");
    match head.content {
        Content::Chunked => assert!(codings == 1 && !http10),
        Content::Length(_) => assert_eq!(lengths, 1),
        Content::None => assert_eq!(codings, 0),
    }
}

/// A `Range` field, after eight bytes of size: it selects what the naive model says.
pub fn range(bytes: &[u8]) {
    let Some((size, field)) = bytes.split_first_chunk::<8>() else {
        return;
    };
    let size = u64::from_le_bytes(*size);
    let got = range_model::as_model(&select(field, size, range_model::MAX_RANGES));
    let numbers = field.split(|b| !b.is_ascii_digit());
    let readable = numbers.map(<[u8]>::len).max() <= Some(range_model::MAX_DIGITS);
    if let (Ok(text), true) = (std::str::from_utf8(field), readable) {
        let expected = range_model::model(text, size.into(), range_model::by_ends);
        assert_eq!(got, expected, "{text:?} of {size}");
        if size < 64 {
            let by_position = range_model::model(text, size.into(), range_model::by_position);
            assert_eq!(got, by_position, "{text:?} of {size}");
        }
    } else {
        let runs = got.unwrap_or_default();
        assert!(runs.iter().all(|(a, z)| a <= z && *z < u128::from(size)));
    }
}

/// Largest field section that the target takes.
const SECTION: usize = 4096;

/// A client's streams of HTTP/3: the pieces that the bytes come in change nothing, and a request that is taken is
/// well-formed and survives being written and read again.
pub fn h3_request(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = h3_read([bytes].into_iter());
    assert_eq!(
        whole,
        h3_read(bytes.chunks(usize::from(*cut).max(1))),
        "pieces change the request"
    );
    for head in &whole.heads {
        h3_head_is_plain(head);
    }
    let mut opened = (control::Opened::default(), control::Opened::default());
    let (mut at_once, mut singly) = (control::UniStream::default(), control::UniStream::default());
    let result = at_once.push(&mut opened.0, bytes);
    let again = bytes
        .chunks(1)
        .try_for_each(|byte| singly.push(&mut opened.1, byte));
    assert_eq!(result, again, "pieces change a unidirectional stream");
}

/// What a request stream brought.
#[derive(Debug, PartialEq)]
struct H3Brought {
    heads: Vec<H3Head>,
    too_large: usize,
    /// Bytes of content; of a stream that was broken it depends on the pieces how many were seen before.
    content: Option<u64>,
    end: Result<(), Fault>,
}

fn h3_read<'a>(mut pieces: impl Iterator<Item = &'a [u8]>) -> H3Brought {
    let mut stream = RequestStream::new(SECTION);
    let (mut heads, mut too_large, mut content) = (Vec::new(), 0, 0);
    let broken = pieces.try_for_each(|mut piece| {
        while let Some(came) = stream.next(&mut piece)? {
            match came {
                Incoming::Head(head) => heads.push(*head),
                Incoming::TooLarge => too_large += 1,
                Incoming::Content(bytes) => content += bytes,
            }
        }
        assert!(piece.is_empty(), "bytes were left over");
        Ok(())
    });
    H3Brought {
        heads,
        too_large,
        content: broken.is_ok().then_some(content),
        end: broken.and_then(|()| stream.end()),
    }
}

fn h3_head_is_plain(head: &H3Head) {
    assert!(!head.method().is_empty() && !head.path().is_empty());
    assert!(!head.path().contains([' ', '\r', '\n', '\0']));
    let mut section = Vec::new();
    let mut encoder = qpack::Encoder::response(&mut section, 200);
    let mut expected = vec![(":status", b"200".as_slice())];
    let mut size = 0;
    for (name, value) in head.fields() {
        size += name.len() + value.len() + 32;
        assert!(!name.is_empty() && !name.contains(|c: char| c.is_ascii_uppercase() || c <= ' ' || c == ':'));
        assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
        assert!(!matches!(name, "connection" | "transfer-encoding" | "upgrade"));
        if let Ok(text) = std::str::from_utf8(value) {
            encoder.field(name, text);
            expected.push((name, value));
        }
    }
    assert!(size <= SECTION, "the limit of a section does not hold");
    let lines = qpack::decode(&section, 2 * SECTION).expect("what we write is a field section");
    assert!(lines.iter().eq(expected.iter().map(|(n, v)| (n.as_bytes(), *v))));
}

/// Ciphers of which all layouts of records are made.
fn ciphers() -> [(ProtocolVersion, ConnectionTrafficSecrets); 4] {
    let (key, iv) = (|| AeadKey::from([7; 32]), || Iv::new([3; 12]));
    let aes = || ConnectionTrafficSecrets::Aes256Gcm { key: key(), iv: iv() };
    let chacha = || ConnectionTrafficSecrets::Chacha20Poly1305 { key: key(), iv: iv() };
    let (v13, v12) = (ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2);
    [(v13, aes()), (v13, chacha()), (v12, aes()), (v12, chacha())]
}

/// TLS records: a stream of any bytes is opened record by record or refused, what is sealed opens to the same, and a changed bit
/// is found.
pub fn tls_record(bytes: &[u8]) {
    for (version, secrets) in ciphers() {
        let opener = || Opener::new(version, (0, &secrets)).expect("the cipher is ours");
        let mut sealer = Sealer::new(Provider::Ring, version, (0, &secrets)).expect("the cipher is ours");
        open_all(opener(), bytes);
        let text = &bytes[..bytes.len().min(MAX_PLAIN)];
        let mut record = vec![0; sealer.sealed(text.len())];
        let prefix = sealer.prefix();
        record[prefix..prefix + text.len()].copy_from_slice(text);
        sealer
            .seal(record::Content::Data, &mut record)
            .expect("the keys are new");
        assert_eq!(record::record_len(&record), Ok(Some(record.len())));
        let mut changed = record.clone();
        let place = bytes
            .iter()
            .fold(0usize, |sum, b| sum * 31 % 65_521 + usize::from(*b));
        let at = record::HEADER + place % (record.len() - record::HEADER);
        changed[at] ^= 1 << (place % 8);
        assert!(
            opener().open(&mut changed).is_err(),
            "a changed bit was not found"
        );
        let (content, range) = opener().open(&mut record).expect("it was sealed so");
        assert!(content == record::Content::Data && &record[range] == text);
    }
}

fn open_all(mut opener: Opener, mut bytes: &[u8]) {
    while let Ok(Some(len)) = record::record_len(bytes) {
        let Some((record, rest)) = bytes.split_at_checked(len) else {
            return;
        };
        let Ok((_, text)) = opener.open(&mut record.to_vec()) else {
            return;
        };
        assert!(text.start <= text.end && text.end <= len && text.len() <= MAX_PLAIN);
        bytes = rest;
    }
}

/// A plan or an appliance's part of it: what is taken leads to no file but its own and survives being written and read.
pub fn plan(bytes: &[u8]) {
    if let Some(plan) = round_trip::<Plan>(bytes)
        && plan.check().is_ok()
    {
        plan.appliances.iter().for_each(part_is_plain);
        assert!(
            plan.appliances
                .iter()
                .all(|part| plan.part(&part.appliance) == Some(part))
        );
    }
    if let Some(part) = round_trip::<AppliancePlan>(bytes)
        && part.check().is_ok()
    {
        part_is_plain(&part);
    }
}

fn part_is_plain(part: &AppliancePlan) {
    for item in &part.items {
        let path = item.path.strip_prefix("/t/").expect("a public path");
        let hidden = path
            .split('/')
            .any(|step| step.is_empty() || step.starts_with('.'));
        assert!(is_plain_path(path) && !hidden, "{path}");
        assert!(item.from.iter().all(|i| usize::from(*i) < part.sources.len()));
        assert!(!item.from.is_empty());
    }
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let text = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&text).expect("what was written can be read");
    assert_eq!(value, again);
    Some(value)
}

/// The path index: what is taken survives being written and read.
pub fn index(bytes: &[u8]) {
    let Ok(index) = Index::parse(bytes) else { return };
    let text = index.text().expect("what was read can be written");
    let again = Index::parse(&text).expect("what was written can be read");
    assert_eq!(index, again);
}
