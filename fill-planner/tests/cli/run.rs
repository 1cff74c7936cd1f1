//! `run` against a control plane.

use super::*;

#[test]
fn run_publishes_and_activates() {
    let world = World::new(SHAPE);
    let dir = tempfile::tempdir().unwrap();
    let control = serve(&world, |_| (201, "{}".into()));
    let out = run(
        &control.url(),
        dir.path(),
        &["--activate", "--out", &dir.path().join("o").display().to_string()],
    );
    assert!(out.status.success(), "{}", stderr(&out));
    let line: serde_json::Value = serde_json::from_str(&stdout(&out)).unwrap();
    assert_eq!(
        (line["plan"].as_u64(), line["activated"].as_bool()),
        (Some(1), Some(true))
    );
    assert!(line["fill_bytes"].as_u64() > Some(0));
    let asked = control.asked();
    assert!(asked.iter().all(|a| a.token.as_deref() == Some("secret")));
    let published = asked.iter().find(|a| a.call == "POST /v1/plans").unwrap();
    let plan: Plan = serde_json::from_str(&published.body).unwrap();
    assert_eq!(plan.appliances, world.plan().plan.appliances);
    assert_eq!(asked.last().unwrap().call, "POST /v1/plans/1/activate");
    // Eight weeks of demand, a week at a time, and nothing of the planned day or of the hour that runs.
    let to = cdn_types::Hour::of(Timestamp::now()).min("2026-11-23T00Z".parse().unwrap());
    let asked_demand: Vec<_> = asked
        .iter()
        .filter(|a| a.call.starts_with("GET /v1/demand"))
        .collect();
    let weeks: Vec<_> = (0..8)
        .map(|w| {
            let hour = |back: i64| cdn_types::Hour(to.0 - 168 * back);
            format!("GET /v1/demand?from={}&to={}", hour(8 - w), hour(7 - w))
        })
        .collect();
    assert_eq!(
        asked_demand.iter().map(|a| &a.call).collect::<Vec<_>>(),
        weeks.iter().collect::<Vec<_>>()
    );
    assert!(dir.path().join("o/plan-1.json").exists());
}

/// A control plane that has lost its demand.
fn serve_no_demand(world: &World) -> FakeControl {
    let mut data = serve_data(world);
    FakeControl::start(Box::new(move |asked| match asked.call.as_str() {
        "POST /v1/plans" => (201, "{}".into()),
        _ => data(asked),
    }))
}

#[test]
fn a_night_without_demand_is_planned_from_the_last_good_forecast() {
    let world = World::new(SHAPE);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (state, metrics) = (path("state"), path("planner.prom"));
    let options = ["--state", &state, "--textfile", &metrics];
    let metric = |name: &str| -> f64 {
        let text = read(Path::new(&metrics));
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("nightfill_planner_{name} ")));
        value
            .unwrap_or_else(|| panic!("{name} in {text}"))
            .parse()
            .unwrap()
    };
    let hits = |out: &Output| -> f64 {
        assert!(out.status.success(), "{}", stderr(out));
        metric("expected_hit_bytes")
    };
    let well = serve(&world, |_| (201, "{}".into()));
    let fresh = hits(&run(&well.url(), dir.path(), &options));
    assert!(fresh > 0.0);
    assert_eq!((metric("exit_code"), metric("kept_forecast")), (0.0, 0.0));

    // Without the state nothing is expected; with it, what was expected the night before.
    let lost = serve_no_demand(&world);
    let blind = run(&lost.url(), dir.path(), &options[2..]);
    assert_eq!((hits(&blind), metric("kept_forecast")), (0.0, 0.0));
    // The history that runs share is as good as the control plane's; without it there is the last good forecast.
    let out = run(&lost.url(), dir.path(), &options);
    assert_eq!((hits(&out), metric("kept_forecast")), (fresh, 0.0));
    std::fs::remove_dir_all(dir.path().join("state/history")).unwrap();
    let out = run(&lost.url(), dir.path(), &options);
    assert_eq!((hits(&out), metric("kept_forecast")), (fresh, 1.0));
    assert!(
        stderr(&out).contains("the forecast is weekday-aware decayed mean, kept from 2026-11-23"),
        "{}",
        stderr(&out)
    );

    // A run that fails says so, and when one last succeeded.
    let succeeded = metric("last_success_timestamp_seconds");
    let refusing = serve(&world, |_| (403, "{}".into()));
    assert_eq!(run(&refusing.url(), dir.path(), &options).status.code(), Some(5));
    assert_eq!(metric("exit_code"), 5.0);
    assert_eq!(metric("last_success_timestamp_seconds"), succeeded);
}

#[test]
fn a_night_asks_for_the_newest_days_alone_and_plans_the_same() {
    let world = World::new(SHAPE);
    let (dir, plain) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let state = dir.path().join("state").display().to_string();
    let plan_of = |control: &FakeControl| -> Plan {
        let asked = control.asked();
        let put = asked.iter().rev().find(|a| a.call == "POST /v1/plans").unwrap();
        serde_json::from_str(&put.body).unwrap()
    };
    let asked_hours = |control: &FakeControl| -> Vec<i64> {
        let asked = control.asked();
        let calls = asked.iter().filter(|a| a.call.starts_with("GET /v1/demand"));
        let from = |call: &str| -> cdn_types::Hour {
            let after = call.split("from=").nth(1).unwrap();
            after.split('&').next().unwrap().parse().unwrap()
        };
        calls.map(|a| from(&a.call).0).collect()
    };
    let new = || serve(&world, |_| (201, "{}".into()));
    let without = new();
    assert!(run(&without.url(), plain.path(), &[]).status.success());
    let last = world.demand.iter().map(|r| r.hour.0).max().unwrap();
    for night in 0..2 {
        let control = new();
        let out = run(&control.url(), dir.path(), &["--state", &state]);
        assert!(out.status.success(), "{}", stderr(&out));
        assert_eq!(plan_of(&control), plan_of(&without), "night {night}");
        let oldest = asked_hours(&control)[0];
        assert_eq!(
            last - oldest > 30 * 24,
            night == 0,
            "asked from {oldest} on in night {night}"
        );
        assert!(oldest <= last - 48, "what may come late is asked for again");
    }
}

#[test]
fn run_dry_publishes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let control = serve(&World::new(SHAPE), |_| (500, String::new()));
    let out = run(&control.url(), dir.path(), &["--dry-run"]);
    assert!(
        out.status.success() && stdout(&out).contains("  + title-"),
        "{}",
        stderr(&out)
    );
    assert!(control.asked().iter().all(|a| a.call.starts_with("GET ")));
}

#[test]
fn run_takes_the_token_of_the_file_and_says_at_once_that_none_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let control = serve(&World::new(SHAPE), |_| (201, "{}".into()));
    let file = dir.path().join("planner.token");
    let run = |more: &[&str]| {
        let mut command = planner();
        command.args(["run", "--date", "2026-11-23", "--lock"]);
        command.arg(dir.path().join("lock")).args(more);
        command.env("NIGHTFILL_CONTROL", control.url());
        command
    };
    let from_file = ["--token-file", file.to_str().unwrap()];
    for (out, word) in [
        (run(&[]).output(), "--token-file FILE, or --dry-run"),
        (run(&from_file).output(), "planner.token: No such file"),
        (run(&["--token", " "]).output(), "is empty"),
    ] {
        let out = out.unwrap();
        assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
        for word in [word, "nightfill token planner"] {
            assert!(stderr(&out).contains(word), "{}", stderr(&out));
        }
    }
    assert!(control.asked().is_empty());
    assert!(run(&["--dry-run"]).output().unwrap().status.success());

    std::fs::write(&file, "secret\n").unwrap();
    let out = run(&from_file)
        .env("NIGHTFILL_TOKEN", "another")
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", stderr(&out));
    let published = control.asked().into_iter().find(|a| a.call == "POST /v1/plans");
    assert_eq!(published.unwrap().token.as_deref(), Some("secret"));
}

#[test]
fn run_asks_again_after_a_failure_and_a_lost_answer_is_no_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let mut times = 0;
    // The first publication is taken in but answered with a failure; the second is then a conflict.
    let control = serve(&World::new(SHAPE), move |_| {
        times += 1;
        if times == 1 {
            (502, String::new())
        } else {
            (409, "{}".into())
        }
    });
    let out = run(&control.url(), dir.path(), &["--activate"]);
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(stderr(&out).contains("again in"), "{}", stderr(&out));
    let posts = control
        .asked()
        .iter()
        .filter(|a| a.call == "POST /v1/plans")
        .count();
    assert_eq!(posts, 2);
}

#[test]
fn run_has_an_exit_code_for_each_cause() {
    let dir = tempfile::tempdir().unwrap();
    let problem = |status: u16, detail: &str| {
        (
            status,
            format!("{{\"type\":\"t\",\"title\":\"t\",\"status\":{status},\"detail\":\"{detail}\"}}"),
        )
    };
    let refused = serve(&World::new(SHAPE), move |_| {
        problem(403, "the token is not a planner's")
    });
    let out = run(&refused.url(), dir.path(), &[]);
    assert_eq!(out.status.code(), Some(5));
    assert!(
        stderr(&out).contains("403") && stderr(&out).contains("not a planner's"),
        "{}",
        stderr(&out)
    );

    // Another plan took the number meanwhile: what GET /v1/plans/1 gives is not what was sent.
    let stale = FakeControl::start({
        let world = World::new(SHAPE);
        let mut data = serve_data(&world);
        Box::new(move |asked| match asked.call.as_str() {
            "POST /v1/plans" => problem(409, "number 1 is not above 4"),
            _ => data(asked),
        })
    });
    let out = run(&stale.url(), dir.path(), &[]);
    assert_eq!(out.status.code(), Some(8), "{}", stderr(&out));
    assert!(stderr(&out).contains("number 1 is not above 4"));

    // Nobody listens there, and the deadline is shorter than the retries.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let out = run(&format!("http://{nobody}"), dir.path(), &["--deadline", "1"]);
    assert_eq!(out.status.code(), Some(6), "{}", stderr(&out));

    let lock = std::fs::File::create(dir.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let out = run("http://127.0.0.1:9", dir.path(), &[]);
    assert_eq!(out.status.code(), Some(7), "{}", stderr(&out));
    drop(lock);

    assert_eq!(run("127.0.0.1:9", dir.path(), &[]).status.code(), Some(2));
    assert_eq!(
        run("http://127.0.0.1:9", dir.path(), &["--date", "someday"])
            .status
            .code(),
        Some(2)
    );
}
