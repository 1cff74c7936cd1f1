//! When viewers watch: the hours of a day, and the days of a week.
//!
//! The hours follow a published 5-minute curve of a video CDN in one US metro: two harmonics and an evening peak,
//! fitted by least squares (mean error 6 %), the peak then raised to the published peak over mean, 1.94, which the
//! fit smooths away (a second metro, in the EU, shows 2.00). A region's clock is taken to be universal time.

use crate::world::titles::Audience;
use cdn_types::time::Date;
use std::f64::consts::PI;

/// Mean, then cosine and sine of once a day, cosine and sine of twice.
const HARMONICS: [f64; 5] = [0.9471, 0.0682, -0.2814, 0.0711, -0.1321];
/// The evening's peak: height, hour, sharpness. The plain fit's height is 0.412.
const EVENING: (f64, f64, f64) = (0.70, 21.25, 10.0);
/// Every audience.
pub const AUDIENCES: [Audience; 3] = [Audience::General, Audience::Late, Audience::Children];

/// Relative demand of each day, Monday first: more at the week-end, as with every service that publishes it.
const DAYS: [f64; 7] = [0.93, 0.91, 0.93, 0.96, 1.05, 1.14, 1.08];

/// Demand of all viewers at an hour of the day, 0 to 24, over some mean.
fn general(hour: f64) -> f64 {
    let x = hour * PI / 12.0;
    let [mean, cos, sin, cos2, sin2] = HARMONICS;
    let (height, at, sharp) = EVENING;
    let evening = height * (sharp * (((hour - at) * PI / 12.0).cos() - 1.0)).exp();
    mean + cos * x.cos() + sin * x.sin() + cos2 * (2.0 * x).cos() + sin2 * (2.0 * x).sin() + evening
}

/// Demand of an audience at an hour of the day over some mean. Only the sum over audiences was fitted; that
/// children watch earlier and films are watched later is a guess.
pub fn rate(audience: Audience, hour: f64) -> f64 {
    let lean = |part: f64, at: f64| 1.0 + part * ((hour - at) * PI / 12.0).cos();
    let lean = match audience {
        Audience::General => lean(-0.05, 23.0),
        Audience::Late => lean(0.12, 23.0),
        Audience::Children => lean(0.4, 14.0),
    };
    general(hour) * lean
}

/// Share of a day's demand that falls into each hour, for an audience.
pub fn hours(audience: Audience) -> [f64; 24] {
    shares(|hour| rate(audience, hour))
}

/// Share of all viewers' demand of a day that falls into an hour (0 to 23).
pub fn of_hour(hour: u8) -> f64 {
    shares(general)[usize::from(hour) % 24]
}

/// Hours from a rate, in 5-minute steps.
fn shares(rate: impl Fn(f64) -> f64) -> [f64; 24] {
    let plain: [f64; 24] = std::array::from_fn(|hour| {
        let steps = (0..12).map(|five| rate(hour as f64 + (f64::from(five) + 0.5) / 12.0));
        steps.sum()
    });
    let all: f64 = plain.iter().sum();
    plain.map(|p| p / all)
}

/// Demand of a day over the mean day's.
pub fn of_day(date: Date) -> f64 {
    let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
    DAYS[weekday] * 7.0 / DAYS.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_over_mean_is_as_measured() {
        let peak = (0..24).map(of_hour).fold(0.0, f64::max) * 24.0;
        assert!((1.9..=2.0).contains(&peak), "{peak}");
        let busiest = |a| {
            (0..24)
                .max_by(|x, y| hours(a)[*x].total_cmp(&hours(a)[*y]))
                .unwrap()
        };
        assert_eq!(busiest(Audience::General), 21);
        assert!(hours(Audience::Children)[16] > hours(Audience::Late)[16]);
        for audience in AUDIENCES {
            assert!((hours(audience).iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        let monday: Date = "2026-11-23".parse().unwrap();
        let saturday: Date = "2026-11-28".parse().unwrap();
        assert!(of_day(saturday) > 1.1 * of_day(monday));
    }
}
