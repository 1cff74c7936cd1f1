//! `urgent` against a control plane.

use super::*;

#[test]
fn an_urgent_title_is_published_and_activated_out_of_turn() {
    let mut world = World::new(Shape {
        storage_percent: 40,
        ..SHAPE
    });
    let active = world.plan().plan;
    world.execute(&active);
    let mut data = serve_data(&world);
    let (document, summary) = (
        serde_json::to_string(&active).unwrap(),
        serde_json::json!([{"number": 1, "date": active.date, "active": true, "appliances": 4, "items": 9, "bytes": 9,
            "published": "2026-11-22T20:00:00Z"}])
        .to_string(),
    );
    let control = FakeControl::start(Box::new(move |asked| match asked.call.as_str() {
        "GET /v1/plans" => (200, summary.clone()),
        "GET /v1/plans/1" => (200, document.clone()),
        "POST /v1/plans" | "PUT /v1/plans/2/report" | "POST /v1/plans/2/activate" => (200, "{}".into()),
        _ => data(asked),
    }));
    let held: std::collections::BTreeSet<_> = active.appliances[0].items.iter().map(|i| &i.title).collect();
    let title = world
        .catalogue
        .objects
        .iter()
        .map(|o| &o.title)
        .find(|t| !held.contains(t))
        .unwrap();
    let urgent = |more: &[&str]| {
        let mut command = planner();
        command.args([
            "urgent",
            "--control",
            &control.url(),
            "--token",
            "secret",
            "--title",
        ]);
        command.arg(title.as_str()).args(more).output().unwrap()
    };
    let dry = urgent(&["--dry-run", "--expected", "1 TB"]);
    assert!(dry.status.success(), "{}", stderr(&dry));
    assert!(control.asked().iter().all(|a| a.call.starts_with("GET ")));
    let out = urgent(&["--expected", "1 TB"]);
    assert!(out.status.success(), "{}", stderr(&out));
    assert_eq!(stdout(&out), stdout(&dry));
    assert!(
        stdout(&out).contains(&format!("added {title}: urgent")),
        "{}",
        stdout(&out)
    );
    let asked = control.asked();
    let posted = asked.iter().find(|a| a.call == "POST /v1/plans").unwrap();
    let plan: Plan = serde_json::from_str(&posted.body).unwrap();
    assert!(plan.number.0 == 2 && plan.appliances.iter().any(|p| p.items[0].title == *title));
    assert_eq!(asked.last().unwrap().call, "POST /v1/plans/2/activate");
    let wrong = urgent(&["--region", "mars"]);
    assert_eq!(wrong.status.code(), Some(3));
    assert!(
        stderr(&wrong).contains("no site is in region mars"),
        "{}",
        stderr(&wrong)
    );
}
