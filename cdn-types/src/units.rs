//! Amounts with their unit. JSON carries plain integers (bytes, bit/s); configuration and profiles may write them
//! for people: `"1.2 Gbps"`, `"120 TB"`, `"64 MiB"`. Decimal prefixes are powers of 1000, `Ki Mi Gi Ti` of 1024.

use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, iter::Sum, str::FromStr};

/// Why a text is no amount of its unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}")]
pub struct UnitError {
    text: String,
    wanted: &'static str,
}

fn parse(text: &str, units: &[(&str, f64)], wanted: &'static str) -> Result<u64, UnitError> {
    let wrong = || UnitError {
        text: text.chars().take(80).collect(),
        wanted,
    };
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number = number.replace('_', "");
    let factor = units
        .iter()
        .find(|(name, _)| *name == unit.trim())
        .map(|(_, f)| *f)
        .ok_or_else(wrong)?;
    if factor == 1.0 {
        return number.parse().map_err(|_| wrong());
    }
    let value: f64 = number.parse().map_err(|_| wrong())?;
    let value = (value * factor).round();
    if value.is_finite() && value < u64::MAX as f64 {
        Ok(value as u64)
    } else {
        Err(wrong())
    }
}

fn human(f: &mut fmt::Formatter<'_>, value: u64, suffixes: [&str; 6]) -> fmt::Result {
    let mut scaled = value as f64;
    let mut step = 0;
    while scaled >= 999.5 && step < 5 {
        scaled /= 1000.0;
        step += 1;
    }
    let digits = if step == 0 || scaled >= 99.5 { 0 } else { 1 };
    f.pad(&format!("{scaled:.digits$} {}", suffixes[step]))
}

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $wanted:literal, $units:expr, $suffixes:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl FromStr for $name {
            type Err = UnitError;
            fn from_str(text: &str) -> Result<Self, UnitError> {
                parse(text, $units, $wanted).map(Self)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                human(f, self.0, $suffixes)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct V;
                impl serde::de::Visitor<'_> for V {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($wanted)
                    }
                    fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<$name, E> {
                        Ok($name(v))
                    }
                    fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<$name, E> {
                        u64::try_from(v).map($name).map_err(|_| E::custom(format!("{v} is negative; expected {}", $wanted)))
                    }
                    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<$name, E> {
                        v.parse().map_err(E::custom)
                    }
                }
                d.deserialize_any(V)
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                Self(iter.map(|v| v.0).sum())
            }
        }
    };
}

unit!(
    /// A number of bytes.
    Bytes,
    "a size such as \"120 TB\" or \"64 MiB\" (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)",
    &[
        ("", 1.0), ("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12), ("PB", 1e15),
        ("KiB", 1024.0), ("MiB", 1048576.0), ("GiB", 1073741824.0), ("TiB", 1099511627776.0),
    ],
    ["B", "kB", "MB", "GB", "TB", "PB"]
);
unit!(
    /// A rate in bits a second.
    BitsPerSecond,
    "a rate such as \"1.2 Gbps\" (bps, kbps, Mbps, Gbps, Tbps)",
    &[("", 1.0), ("bps", 1.0), ("kbps", 1e3), ("Mbps", 1e6), ("Gbps", 1e9), ("Tbps", 1e12)],
    ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s"]
);

impl BitsPerSecond {
    /// Whole bytes that this rate moves in `seconds`.
    pub fn bytes_in(self, seconds: u64) -> Bytes {
        Bytes((u128::from(self.0) * u128::from(seconds) / 8).min(u128::from(u64::MAX)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!("1.2 Gbps".parse(), Ok(BitsPerSecond(1_200_000_000)));
        assert_eq!("64MiB".parse(), Ok(Bytes(64 << 20)));
        assert_eq!("120 TB".parse(), Ok(Bytes(120_000_000_000_000)));
        assert_eq!("42".parse(), Ok(Bytes(42)));
        for bad in ["", "x", "1.2", "-1 GB", "3 gb", "1e5", "99999999999 PB", "1 2 GB"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
        assert!("5 GB".parse::<BitsPerSecond>().is_err());
    }

    #[test]
    fn writes_for_people() {
        assert_eq!(Bytes(999).to_string(), "999 B");
        assert_eq!(Bytes(1_500_000).to_string(), "1.5 MB");
        assert_eq!(BitsPerSecond(200_000_000_000).to_string(), "200 Gbit/s");
    }

    #[test]
    fn fill_cap_is_rate_times_window() {
        assert_eq!(
            BitsPerSecond(1_200_000_000).bytes_in(12 * 3600),
            Bytes(6_480_000_000_000)
        );
    }

    #[test]
    fn json_is_integers_and_negative_is_refused() {
        assert_eq!(serde_json::to_string(&Bytes(7)).unwrap(), "7");
        assert!(
            serde_json::from_str::<Bytes>("-7")
                .unwrap_err()
                .to_string()
                .contains("negative")
        );
    }
}
