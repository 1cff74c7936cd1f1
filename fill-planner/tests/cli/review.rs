//! `review` against a control plane.

use super::*;

#[test]
fn a_review_sets_the_plan_against_its_day() {
    let world = World::new(Shape {
        storage_percent: 15,
        ..SHAPE
    });
    let dir = tempfile::tempdir().unwrap();
    let control = serve(&world, |_| (201, "{}".into()));
    let out = run(&control.url(), dir.path(), &["--activate"]);
    assert!(out.status.success(), "{}", stderr(&out));
    let last_put = |kind: &str| -> serde_json::Value {
        let asked = control.asked();
        let put = asked
            .iter()
            .rev()
            .find(|a| a.call == format!("PUT /v1/plans/1/{kind}"));
        serde_json::from_str(&put.unwrap().body).unwrap()
    };
    let promise = &last_put("report")["promise"];
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let (low, high) = (number(&promise["low"]), number(&promise["high"]));
    assert!(
        0.0 < low && low <= number(&promise["hit_share"]) && high <= 1.0,
        "{promise}"
    );
    assert_eq!(promise["days"], 10); // of 14, less three of history and one of which nothing is known

    // The day comes as the one before it, and then one that nobody could expect.
    let day = |objects: &dyn Fn(&DemandRow) -> cdn_types::ObjectDigest| -> Vec<DemandRow> {
        let last = world.demand.iter().map(|r| r.hour.0).max().unwrap() / 24 * 24;
        let newest = world.demand.iter().filter(|r| r.hour.0 >= last);
        let next = |r: &DemandRow| DemandRow {
            hour: cdn_types::Hour(r.hour.0 + 24),
            object: objects(r),
            ..r.clone()
        };
        newest.map(next).collect()
    };
    let review = |rows: Vec<DemandRow>| {
        let file = dir.path().join("day.csv");
        std::fs::write(&file, csv(&rows)).unwrap();
        let out = planner()
            .args([
                "review",
                "--control",
                &control.url(),
                "--token",
                "secret",
                "--demand",
            ])
            .arg(&file)
            .args(["--plan", "1"])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", stderr(&out));
        (stdout(&out), last_put("review"))
    };
    let (said, same) = review(day(&|r| r.object));
    assert_eq!(same["kept"], true, "{said} {same}");
    assert!(said.contains("; as promised: "), "{said}");
    assert!(number(&same["hit"]) <= number(&same["demand"]));
    let (said, strange) = review(day(&|_| cdn_types::ObjectDigest::of(b"never seen")));
    assert_eq!((&strange["hit"], &strange["kept"]), (&0.into(), &false.into()));
    assert!(
        said.contains(" 0.0 % of the bytes") && said.contains("NOT as promised"),
        "{said}"
    );
    assert_eq!(strange["misses"][0]["title"], serde_json::Value::Null);
}
