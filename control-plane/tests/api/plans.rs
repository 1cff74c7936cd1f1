//! Which plans are refused.

use crate::harness::{Control, plan};
use cdn_types::{ObjectDigest, OcaId, api::v1::PlanSummary, plan::Plan};

#[tokio::test]
async fn stale_plan_is_refused() {
    let control = Control::start();
    let film = control.title("film", "bytes").await;
    control.site("ams", "nl", "127.0.0.0/8").await;
    control.join("a1", "ams").await;
    let publish = async |number| {
        control
            .post("/v1/plans", &control.admin, &plan(number, "a1", &[&film]))
            .await
    };
    let activate = async |number: u64| {
        control
            .post(&format!("/v1/plans/{number}/activate"), &control.admin, &())
            .await
    };
    publish(5).await.is(200);
    for stale in [5, 4, 0] {
        let answer = publish(stale).await;
        assert_eq!(answer.problem(409), "stale_plan");
        assert!(answer.detail().contains("6 or more"), "{}", answer.detail());
    }
    publish(9).await.is(200);
    activate(9).await.is(200);
    assert_eq!(activate(5).await.problem(409), "stale_plan");
    activate(9).await.is(200);
    assert_eq!(activate(7).await.problem(409), "stale_plan");
    assert_eq!(activate(10).await.problem(404), "not_found");
    let plans: Vec<PlanSummary> = control.get("/v1/plans").await.to();
    let listed: Vec<_> = plans.iter().map(|p| (p.number.0, p.active)).collect();
    assert_eq!(listed, [(9, true), (5, false)]);
    let kept: Plan = control.get("/v1/plans/5").await.to();
    assert_eq!(kept, plan(5, "a1", &[&film]));
}

#[tokio::test]
async fn what_the_planner_says_of_a_plan_is_kept_with_it() {
    let control = Control::start();
    let film = control.title("film", "bytes").await;
    control.site("ams", "nl", "127.0.0.0/8").await;
    control.join("a1", "ams").await;
    for kind in ["report", "review"] {
        let path = format!("/v1/plans/3/{kind}");
        let note = serde_json::json!({"number": 3, "kind": kind, "sites": []});
        if kind == "report" {
            assert_eq!(control.put(&path, &note).await.problem(404), "not_found");
            let planned = plan(3, "a1", &[&film]);
            control.post("/v1/plans", &control.admin, &planned).await.is(200);
        }
        let missing = control.get(&path).await;
        assert_eq!(missing.problem(404), "not_found");
        assert!(
            missing.detail().contains(&format!("no {kind}")),
            "{}",
            missing.detail()
        );
        control.put(&path, &note).await.is(200);
        let again = serde_json::json!({"number": 3, "kind": kind, "sites": [1]});
        control.put(&path, &again).await.is(200);
        assert_eq!(control.get(&path).await.to::<serde_json::Value>(), again);
        let other = control.put(&path, &serde_json::json!({"number": 4})).await;
        assert_eq!(other.problem(422), "invalid");
        assert!(other.detail().contains("the address names 3, the body 4"));
    }
}

#[tokio::test]
async fn a_plan_must_agree_with_the_catalogue_and_the_fleet() {
    let control = Control::start();
    let film = control.title("film", "bytes").await;
    control.site("ams", "nl", "127.0.0.0/8").await;
    control.join("a1", "ams").await;
    let good = plan(1, "a1", &[&film]);
    let broken = |name: &str, edit: &dyn Fn(&mut Plan)| {
        let mut plan = good.clone();
        edit(&mut plan);
        (name.to_owned(), plan)
    };
    let table = [
        broken("format", &|p| p.format = 9),
        broken("a2, which has not joined", &|p| {
            p.appliances[0].appliance = OcaId::new("a2").unwrap();
        }),
        broken("no registered title", &|p| {
            p.appliances[0].items[0].path = "/t/film/000000000000/x.mp4".into();
        }),
        broken("the digest is", &|p| {
            p.appliances[0].items[0].digest = ObjectDigest::of(b"other");
        }),
        broken("the size is 77", &|p| p.appliances[0].items[0].size.0 = 77),
        broken("no valid source", &|p| p.appliances[0].items[0].from = vec![3]),
        broken("two parts", &|p| p.appliances.push(p.appliances[0].clone())),
        broken("2^53", &|p| p.number.0 = u64::MAX),
        broken("more than 2^41 above the highest so far", &|p| {
            p.number.0 = 1 << 53;
        }),
    ];
    for (word, plan) in table {
        let answer = control.post("/v1/plans", &control.admin, &plan).await;
        assert_eq!(answer.problem(422), "invalid", "{word}");
        assert!(answer.detail().contains(&word), "{word}: {}", answer.detail());
    }
    control.post("/v1/plans", &control.admin, &good).await.is(200);
}

#[tokio::test]
async fn of_two_planners_with_one_number_one_is_refused() {
    let control = Control::start();
    let film = control.title("film", "bytes").await;
    control.site("ams", "nl", "127.0.0.0/8").await;
    control.join("a1", "ams").await;
    for number in 1..6 {
        let plan = plan(number, "a1", &[&film]);
        let publish = || control.post("/v1/plans", &control.admin, &plan);
        let (a, b, c) = tokio::join!(publish(), publish(), publish());
        let mut statuses = [a.status, b.status, c.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409, 409]);
    }
}
