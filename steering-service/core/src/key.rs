//! The sort key of an appliance for one client and one title, as one number: less is better.
//!
//! From the first to the last: pinned by policy, class of the route, length of its network, policy's preference, length
//! of the AS path, MED, headroom, measured throughput, distance, whether a hot title was dealt to it, rendezvous
//! score. The order of keys is fixed; policy says what some of them weigh.

use serde::Serialize;

/// Names of the keys in order, as explanations give them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyName {
    /// Pinned by a rule.
    Pin,
    /// Site class, or how near without a route.
    Class,
    /// Longest match.
    PrefixLength,
    /// Sum of the rules that prefer or avoid it.
    Preference,
    /// Length of the AS path.
    AsPath,
    /// Multi-exit discriminator.
    Med,
    /// Step of load.
    Headroom,
    /// Step of measured throughput.
    Throughput,
    /// Great-circle distance in steps.
    Distance,
    /// The title was dealt to it.
    Copy,
    /// Rendezvous score.
    Rendezvous,
    /// The same in all keys: by id.
    Id,
}

/// Name and width in bits, first key first; together 128.
const LAYOUT: [(KeyName, u32); 11] = [
    (KeyName::Pin, 1),
    (KeyName::Class, 4),
    (KeyName::PrefixLength, 8),
    (KeyName::Preference, 16),
    (KeyName::AsPath, 8),
    (KeyName::Med, 32),
    (KeyName::Headroom, 2),
    (KeyName::Throughput, 4),
    (KeyName::Distance, 12),
    (KeyName::Copy, 1),
    (KeyName::Rendezvous, 40),
];
/// Bits of what tells siblings apart.
const SCORE_BITS: u32 = 1 + 40;
/// Bits after the keys that the network and policy decide.
const BELOW_ROUTES: u32 = 2 + 4 + 12 + SCORE_BITS;

/// Place of appliances of the same region without a route, behind all classes.
pub const SAME_REGION: u8 = 14;
/// Place of all others.
pub const ELSEWHERE: u8 = 15;
/// Largest distance step; also "not known".
pub const FARTHEST: u16 = (1 << 12) - 1;

/// The key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u128);

/// What a key is made of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields {
    /// Pinned by policy.
    pub pinned: bool,
    /// Place of the class, [`SAME_REGION`] or [`ELSEWHERE`]; up to 15.
    pub class: u8,
    /// Length of the network; 0 without a route.
    pub prefix_len: u8,
    /// More is better.
    pub preference: i16,
    /// Length of the AS path.
    pub path_len: u8,
    /// Rank or value of the MED.
    pub med: u32,
    /// Step of load, 0 to 3.
    pub headroom: u8,
    /// Steps that measured throughput is short of enough, up to 15.
    pub short: u8,
    /// Distance in steps, up to [`FARTHEST`].
    pub distance: u16,
}

impl Key {
    /// Packs the fields.
    pub fn new(f: &Fields) -> Self {
        let mut key = u128::from(!f.pinned);
        let mut put = |bits: u32, value: u64| key = key << bits | u128::from(value);
        put(4, f.class.min(15).into());
        put(8, (u8::MAX - f.prefix_len).into());
        put(16, (i32::from(i16::MAX) - i32::from(f.preference)) as u64);
        put(8, f.path_len.into());
        put(32, f.med.into());
        put(2, f.headroom.min(3).into());
        put(4, f.short.min(15).into());
        put(12, f.distance.min(FARTHEST).into());
        Self(key << SCORE_BITS)
    }
    /// The same with what tells siblings apart: whether the title is dealt out in the site, but not to it, and the
    /// rendezvous score, finite and positive.
    pub fn with_score(self, no_copy: bool, score: f64) -> Self {
        // Positive floats sort as their bits do; the sign bit is dropped and the last 23 bits of 63.
        let score = !(score.to_bits() >> 23) & ((1 << 40) - 1);
        Self(self.0 >> SCORE_BITS << SCORE_BITS | u128::from(no_copy) << 40 | u128::from(score))
    }
    /// Whether it is better or the same before scores are looked at.
    pub fn no_worse_before_score(self, other: Self) -> bool {
        self.0 >> SCORE_BITS <= other.0 >> SCORE_BITS
    }
    /// Whether the keys up to MED are better than another's.
    pub fn better_route(self, other: Self) -> bool {
        self.0 >> BELOW_ROUTES < other.0 >> BELOW_ROUTES
    }
    /// A key's part: less is better.
    pub fn part(self, name: KeyName) -> u64 {
        let mut above = 128;
        for (key, bits) in LAYOUT {
            above -= bits;
            if key == name {
                return (self.0 >> above) as u64 & (u64::MAX >> (64 - bits));
            }
        }
        0
    }
    /// The first key in which two differ.
    pub fn differs(self, other: Self) -> KeyName {
        let differs = |(name, _): &&(KeyName, u32)| self.part(*name) != other.part(*name);
        LAYOUT.iter().find(differs).map_or(KeyName::Id, |(name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Fields = Fields {
        pinned: false,
        class: 1,
        prefix_len: 24,
        preference: 0,
        path_len: 2,
        med: 10,
        headroom: 1,
        short: 1,
        distance: 7,
    };

    fn key(fields: Fields) -> Key {
        Key::new(&fields).with_score(false, 2.0)
    }

    #[test]
    fn each_key_outweighs_all_after_it() {
        let better = [
            Fields {
                pinned: true,
                ..PLAIN
            },
            Fields { class: 0, ..PLAIN },
            Fields {
                prefix_len: 25,
                ..PLAIN
            },
            Fields {
                preference: 1,
                ..PLAIN
            },
            Fields { path_len: 1, ..PLAIN },
            Fields { med: 9, ..PLAIN },
            Fields { headroom: 0, ..PLAIN },
            Fields { short: 0, ..PLAIN },
            Fields { distance: 6, ..PLAIN },
        ];
        let worst_after_pin = Fields {
            pinned: false,
            class: 15,
            prefix_len: 0,
            preference: i16::MIN,
            path_len: 255,
            med: u32::MAX,
            headroom: 3,
            short: 15,
            distance: FARTHEST,
        };
        let plain = key(PLAIN);
        for (at, fields) in better.into_iter().enumerate() {
            let key = Key::new(&fields).with_score(true, 1e-9);
            assert!(key < plain && key.no_worse_before_score(plain));
            assert_eq!(key.differs(plain) as usize, at);
            assert_eq!(key.better_route(plain), at < 6);
        }
        assert!(
            key(Fields {
                pinned: true,
                ..worst_after_pin
            }) < plain
        );
        assert!(key(worst_after_pin) > plain);
        let scored = |no_copy, score| Key::new(&PLAIN).with_score(no_copy, score);
        assert_eq!(plain.differs(scored(true, 2.0)), KeyName::Copy);
        assert_eq!(plain.differs(scored(false, 1.0)), KeyName::Rendezvous);
        assert_eq!(plain.differs(plain), KeyName::Id);
        assert!(scored(false, 1e30) < scored(false, 1e29) && scored(false, 1e-30) < scored(true, 1e30));
        assert!(scored(true, 1.0).no_worse_before_score(plain));
    }

    #[test]
    fn the_layout_fills_the_number() {
        assert_eq!(LAYOUT.iter().map(|(_, bits)| bits).sum::<u32>(), 128);
        let key = key(PLAIN);
        let part = |name| key.part(name);
        assert_eq!(
            (part(KeyName::Pin), part(KeyName::Class), part(KeyName::Med)),
            (1, 1, 10)
        );
        assert_eq!((part(KeyName::Headroom), part(KeyName::Distance)), (1, 7));
    }
}
