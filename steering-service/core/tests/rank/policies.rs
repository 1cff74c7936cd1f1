//! Policies that are refused, and what a good one says.

use super::keys::policy;
use steering_core::Policy;

#[test]
fn a_bad_policy_is_told_once_with_key_and_mend() {
    let rule =
        |rule: &str| format!("version = 1\n[[rule]]\nprefer = 1\nsite = \"s\"\nasn = 1\n[[rule]]\n{rule}");
    let experiment = |arm: &str, more: &str| {
        let arms = format!("arm = [{{ name = \"a\", share = 1 }}, {{ name = \"b\", share = 1, {arm} }}]");
        format!("version = 1\n[[experiment]]\nname = \"x\"\n{arms}\n{more}\n")
    };
    for (text, wanted) in [
        (String::new(), "`version` is missing or 0; write version = 1"),
        ("version = 0".into(), "`version` is missing or 0"),
        ("version = 1\nversoin = 2".into(), "unknown field `versoin`"),
        ("version = 1\nmed = \"sometimes\"".into(), "unknown variant `sometimes`"),
        ("version = 1\nhysteresis_steps = 9".into(), "`hysteresis_steps` is 9; give 0 to 3"),
        ("version = 1\nminimum_entries = 0".into(), "`minimum_entries` is 0; give 1 to 8"),
        ("version = 1\nenough_throughput_mbps = 0".into(), "`enough_throughput_mbps` is 0; give 0.1"),
        ("version = 1\n[class_order]\ntransit = 14".into(), "`class_order.transit` is 14"),
        (
            "version = 1\n[headroom]\nbusy_from_permille = 900".into(),
            "`headroom` has 900, 850, 950; busy, tight and full must rise",
        ),
        (
            "version = 1\n[headroom]\nfull_from_permille = 1001".into(),
            "`headroom.full_from_permille` is 1001",
        ),
        (rule("pin = true\nsite = \"s\""), "`rule[1]` must say for whom it is, once"),
        (rule("asn = 1\ncountry = \"DE\"\npin = true\nsite = \"s\""), "give one of prefix, asn, country"),
        (rule("asn = 1\npin = true"), "`rule[1]` must name what it is about, once"),
        (rule("asn = 1\nsite = \"s\""), "`rule[1]` must say what it does, once"),
        (rule("asn = 1\nsite = \"s\"\npin = true\nprefer = 3"), "give one of prefer = N, avoid = N"),
        (rule("asn = 1\nsite = \"s\"\navoid = 0"), "`rule[1].avoid` is 0; give 1 to 1000"),
        (rule("country = \"D\"\nsite = \"s\"\npin = true"), "`rule[1].country` is `D`; a country has two letters"),
        (rule("prefix = \"10.0.0.0/99\"\nsite = \"s\"\npin = true"), "invalid IP address syntax"),
        ("version = 1\n[[licence]]\ntitle = \"t\"".into(), "`licence[0]` must list countries, once"),
        (
            "version = 1\n[[licence]]\ntitle = \"t\"\nonly = [\"Germany\"]".into(),
            "`licence[0].only` is `Germany`",
        ),
        (
            "version = 1\n[[licence]]\ntitle = \"t\"\nonly = []\n[[licence]]\ntitle = \"t\"\nonly = []".into(),
            "`licence[1].title` `t` is there twice; join",
        ),
        (
            "version = 1\n[[location]]\nsite = \"s\"\nlatitude = 91\nlongitude = 0".into(),
            "`location[0]` is at 91, 0; give degrees",
        ),
        (
            "version = 1\n[[experiment]]\nname = \"x\"\narm = [{ name = \"a\", share = 0 }]".into(),
            "`experiment[0].arm` has no share in sum",
        ),
        (
            "version = 1\n[[experiment]]\nname = \"x\"\narm = [{ name = \"a\", share = 1 }, { name = \"a\", share = 1 }]"
                .into(),
            "`experiment[0].arm` `a` is empty or there twice",
        ),
        (experiment("hysteresis_steps = 4", ""), "`experiment[0].arm[1].hysteresis_steps` is 4; give 0 to 3"),
        (experiment("enough_throughput_mbps = 0", ""), "`experiment[0].arm[1].enough_throughput_mbps` is 0"),
        (experiment("class_order = { transit = 14 }", ""), "`experiment[0].arm[1].class_order.transit` is 14"),
        (
            experiment("headroom = { full_from_permille = 0 }", ""),
            "`experiment[0].arm[1].headroom` has 700, 850, 0; busy, tight and full must rise",
        ),
        (experiment("weight = 3", ""), "unknown field `weight`"),
        (experiment("med = \"never\"", "guard = {}"), "`experiment[0].guard` guards nothing; give throughput_percent"),
        (
            experiment("med = \"never\"", "guard = { failovers_percent = 0 }"),
            "`experiment[0].guard.failovers_percent` is 0; give 1 to 1000",
        ),
        (
            experiment("med = \"never\"", "guard = { failovers_percent = 9, window_minutes = 0 }"),
            "`experiment[0].guard.window_minutes` is 0",
        ),
        (
            experiment("med = \"never\"", "guard = { failovers_percent = 9, minimum_sessions = 3 }"),
            "`experiment[0].guard.minimum_sessions` is 3",
        ),
        (
            experiment("med = \"never\"", "")
                + "[[experiment]]\nname = \"y\"\narm = [{ name = \"a\", share = 1, med = \"always\" }]",
            "`experiment[1].arm` weighs, as an experiment before does; run one such",
        ),
    ] {
        let error = policy(&text).unwrap_err();
        assert!(error.contains(wanted), "{text}\ngave: {error}");
    }
}

#[test]
fn a_policy_that_says_nothing_is_the_one_as_shipped() {
    let wanted = Policy {
        version: 4,
        ..Policy::default()
    };
    assert_eq!(policy("version = 4"), Ok(wanted));
}

#[test]
fn arms_are_dealt_by_share_and_stay() {
    let p = policy(
        "version = 1\n[[experiment]]\nname = \"ttl\"\narm = [{ name = \"as-is\", share = 80 }, { name = \"short\", share = 20 }]\n\
         [[experiment]]\nname = \"order\"\narm = [{ name = \"as-is\", share = 1 }, { name = \"other\", share = 1 }]",
    )
    .unwrap();
    let mut short = [0i32; 2];
    for n in 0..10_000 {
        let session = format!("{n:016x}");
        let arms: Vec<_> = p.arms(&session).collect();
        assert_eq!(arms, p.arms(&session).collect::<Vec<_>>());
        if arms[0] == ("ttl", "short") {
            short[usize::from(arms[1].1 == "other")] += 1;
        }
    }
    let sum = short[0] + short[1];
    assert!((1850..2150).contains(&sum), "{sum} of 10000 for a fifth");
    assert!(
        (short[0] - short[1]).abs() < 200,
        "experiments are independent: {short:?}"
    );
}

#[test]
fn an_arm_weighs_what_it_says_and_nothing_else() {
    let p = policy(
        "version = 3\nhysteresis_steps = 2\nmed = \"always\"\n[[experiment]]\nname = \"x\"\n\
         arm = [{ name = \"as-is\", share = 1 }, { name = \"b\", share = 1, hysteresis_steps = 0, enough_throughput_mbps = 5 }]\n\
         guard = { throughput_percent = 10, window_minutes = 30 }",
    )
    .unwrap();
    let experiment = &p.experiments[0];
    assert_eq!(experiment.control().name, "as-is");
    assert!(experiment.control().weights.is_empty() && experiment.weighs());
    let guard = experiment.guard.unwrap();
    assert_eq!(
        (guard.window_ms, guard.minimum_sessions, guard.failovers_percent),
        (1_800_000, 200, None)
    );
    let wanted = Policy {
        hysteresis_steps: 0,
        enough_throughput: 5_000_000,
        ..p.clone()
    };
    assert_eq!(experiment.arms[1].weights.over(&p), wanted);
}
