//! Features' values in words, for explanations.

const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// How a feature's value is said to an operator.
pub fn said(name: &str, value: f64) -> String {
    if value.is_nan() {
        return "not known".to_owned();
    }
    match name {
        "plain expectation per byte" => format!("{:.3} times its size a day", value.exp()),
        "weekday" => WEEKDAYS[(value.max(0.0) as usize).min(6)].to_owned(),
        "kind" => ["film", "season", "episode"][(value.max(0.0) as usize).min(2)].to_owned(),
        "own production" | "made for all regions" | "made here" => {
            if value > 0.0 { "yes" } else { "no" }.to_owned()
        }
        "runtime" => format!("{value:.0} minutes"),
        "season" => format!("{value:.0}"),
        "sessions 1 day ago" => format!("about {:.0}", value.exp_m1()),
        _ if name.starts_with("days ") => format!("{value:.0}"),
        _ => format!("{:.2} times the plain expectation", value.exp()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::NAMES, *};

    #[test]
    fn every_feature_has_words() {
        for name in NAMES {
            assert_eq!(said(name, f64::NAN), "not known");
            assert!(!said(name, 1.0).is_empty());
        }
        assert_eq!(said("weekday", 5.0), "Saturday");
        assert_eq!(said("1 day ago", 0.0), "1.00 times the plain expectation");
        assert_eq!(said("days since it was first drawn here", 3.0), "3");
        assert_eq!(said("kind", 2.0), "episode");
    }
}
