//! The fuzz targets without a fuzzer: each over its kept corpus, then for a short while over seeded changes to it. An
//! input that breaks a promise is printed; it belongs into the corpus, and its cause into a `regression_` test.

use oca_server::fuzzing::TARGETS;
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    time::{Duration, Instant},
};

/// How long each target is tried with changed inputs; most of the effect comes at once.
const TIME: Duration = Duration::from_secs(2);
/// Changed inputs at most: the same for every run on a fast machine.
const TRIES: u64 = 100_000;
/// Longest input: larger ones only take longer.
const LONGEST: usize = 8 << 10;

/// SplitMix64: the same changes in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| fs::read(file).expect("it is a file"))
        .collect()
}

/// Changes a few places of `input`, borrowing from `other`.
fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const TELLING: &[u8] = b"\0\xff\x7f\x80\r\n \t:,-=\"{}[]019";
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(16)).min(input.len());
        match random.below(6) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = TELLING[random.below(TELLING.len())],
            2 => input.insert(at, TELLING[random.below(TELLING.len())]),
            3 => drop(input.drain(at..end)),
            4 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let from = random.below(other.len() + 1);
                let to = (from + random.below(64)).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
    input.truncate(LONGEST);
}

fn smoke(target: &str) {
    let (_, run) = TARGETS
        .into_iter()
        .find(|(name, _)| *name == target)
        .expect("it is a target");
    let check = |input: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(input))) {
            eprintln!("{target} breaks on \"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
    };
    let seeds = corpus(target);
    assert!(!seeds.is_empty(), "{target} has no corpus");
    seeds.iter().for_each(|seed| check(seed));
    let (mut random, end) = (Random(1), Instant::now() + TIME);
    for _ in 0..TRIES {
        let mut input = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        change(&mut input, other, &mut random);
        check(&input);
        if Instant::now() > end {
            break;
        }
    }
}

#[test]
fn fuzz_request_head() {
    smoke("request_head");
}

#[test]
fn fuzz_range() {
    smoke("range");
}

#[test]
fn fuzz_h3_request() {
    smoke("h3_request");
}

#[test]
fn fuzz_tls_record() {
    smoke("tls_record");
}

#[test]
fn fuzz_plan() {
    smoke("plan");
}

#[test]
fn fuzz_index() {
    smoke("index");
}

#[test]
fn fuzz_bgp_update() {
    smoke("bgp_update");
}

#[test]
fn every_target_has_a_corpus_and_a_fuzzer() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (name, _) in TARGETS {
        assert!(!corpus(name).is_empty());
        assert!(fuzz.join(format!("fuzz_targets/{name}.rs")).exists(), "{name}");
    }
    let folders = fs::read_dir(fuzz.join("corpus")).unwrap();
    assert_eq!(folders.count(), TARGETS.len(), "a corpus without a target");
}
