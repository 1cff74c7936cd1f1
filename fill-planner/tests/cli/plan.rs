//! `plan` on files.

use super::*;

#[test]
fn plan_writes_a_plan_and_reports_and_the_same_bytes_again() {
    let mut world = World::new(SHAPE);
    let files = Files::new(&world);
    let first = files.plan(&["--out", "one"]);
    assert!(first.status.success(), "{}", stderr(&first));
    assert_eq!(stdout(&first), "one/plan-1.json\n");
    let plan: Plan = serde_json::from_str(&read(&files.path("one/plan-1.json"))).unwrap();
    assert_eq!(plan.check(), Ok(()));
    assert_eq!(plan.appliances.len(), 4);
    let report: PlanReport = serde_json::from_str(&read(&files.path("one/report-1.json"))).unwrap();
    // Rows stand at one hour a day only, so the oldest day is known by a single hour and is not counted.
    assert_eq!((report.number, report.history.days), (plan.number, 13));
    assert!(
        report
            .sites
            .iter()
            .all(|s| s.hit_share.is_some_and(|h| h > 0.999))
    );
    let text = read(&files.path("one/report-1.md"));
    assert!(
        text.starts_with("# Plan 1 for 2026-11-23\n") && text.contains("| added | title-0000 |"),
        "{text}"
    );
    // Other order of rows, same number: the same bytes, so writing again is no conflict.
    world.shuffle(5);
    let shuffled = Files::new(&world);
    assert!(shuffled.plan(&["--out", "two"]).status.success());
    assert_eq!(
        read(&files.path("one/plan-1.json")),
        read(&shuffled.path("two/plan-1.json"))
    );
    assert!(files.plan(&["--out", "one", "--number", "1"]).status.success());
    // The next number follows by itself; another plan under a taken number is refused.
    assert_eq!(
        stdout(&files.plan(&["--out", "one", "--previous", "one/plan-1.json"])),
        "one/plan-2.json\n"
    );
    let taken = files.plan(&["--out", "one", "--number", "1", "--seed", "9"]);
    assert_eq!(taken.status.code(), Some(8), "{}", stderr(&taken));
    let stale = files.plan(&["--out", "one", "--number", "1", "--previous", "one/plan-1.json"]);
    assert_eq!(stale.status.code(), Some(8), "{}", stderr(&stale));
}

#[test]
fn dry_run_prints_the_changes_and_writes_nothing() {
    let mut world = World::new(SHAPE);
    let plan = world.plan().plan;
    world.execute(&plan);
    let gone = world.catalogue.objects[0].title.clone();
    world.catalogue.objects.retain(|o| o.title != gone);
    world.fleet.appliances[0].holds.clear();
    let files = Files::new(&world);
    let before = std::fs::read_dir(files.dir.path()).unwrap().count();
    let dry = files.plan(&["--dry-run"]);
    assert!(dry.status.success(), "{}", stderr(&dry));
    let text = stdout(&dry);
    assert!(text.contains("oca-0-0 (site site0)"), "{text}");
    for sign in ["\n  + title-", "\n  = title-", "\n  - (not in the catalogue)"] {
        assert!(text.contains(sign), "{sign}: {text}");
    }
    assert_eq!(std::fs::read_dir(files.dir.path()).unwrap().count(), before);
}

#[test]
fn an_engine_that_cannot_be_used_is_named() {
    let files = Files::new(&World::new(SHAPE));
    for (more, text) in [
        (&["--engine", "ballista"][..], "needs --scheduler URL"),
        (&["--scheduler", "df://127.0.0.1:9"], "is for --engine ballista"),
        (
            &["--engine", "ballista", "--scheduler", "df://127.0.0.1:9"],
            "give --history DIR",
        ),
    ] {
        let out = files.plan(&[&["--out", "one"], more].concat());
        assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
        assert!(stderr(&out).contains(text), "{}", stderr(&out));
    }
}

#[test]
fn a_policy_is_obeyed_and_its_mistakes_are_named() {
    let world = World::new(SHAPE);
    let files = Files::new(&world);
    let title = world.catalogue.objects[0].title.as_str();
    let policy = files.path("policy.json");
    let policy = policy.to_str().unwrap();
    std::fs::write(
        policy,
        format!(r#"{{"blackouts": [{{"title": "{title}", "site": "site0"}}], "links": [{{"name": "wan", "cap": 0, "over": "origin"}}]}}"#),
    )
    .unwrap();
    let dry = stdout(&files.plan(&["--dry-run", "--policy", policy]));
    assert!(
        dry.contains(&format!(
            "site site0: without {title}: the policy bars it here on this day"
        )),
        "{dry}"
    );
    assert!(
        dry.contains("a shared link's bytes went to what is worth more"),
        "{dry}"
    );
    let wrong = |text: &str| {
        std::fs::write(policy, text).unwrap();
        let out = files.plan(&["--dry-run", "--policy", policy]);
        assert_eq!(out.status.code(), Some(3));
        stderr(&out)
    };
    let unknown = wrong(r#"{"pins": [{"title": "none"}]}"#);
    assert!(
        unknown.contains("policy: pin of none: the catalogue has no such title"),
        "{unknown}"
    );
    let slip = wrong(r#"{"pin": []}"#);
    assert!(
        slip.contains("policy.json: line 1, column 6: unknown field `pin`"),
        "{slip}"
    );
}

#[test]
fn wrong_inputs_are_one_line_with_their_place() {
    let files = Files::new(&World::new(SHAPE));
    let expect = |file: &str, text: &str, code: i32, part: &str| {
        let before = read(&files.path(file));
        std::fs::write(files.path(file), text).unwrap();
        let out = files.plan(&["--out", "out"]);
        assert_eq!(out.status.code(), Some(code), "{}", stderr(&out));
        let line = stderr(&out);
        assert!(
            line.starts_with("error: ") && line.lines().count() == 1 && line.contains(part),
            "{line}"
        );
        std::fs::write(files.path(file), before).unwrap();
    };
    let header = "hour,region,object,requests,bytes";
    expect(
        "a.csv",
        &format!("{header}\n2026-11-22T14Z,nl,abc,1,1\n"),
        3,
        "a.csv: line 2, column `object`: `abc`",
    );
    expect(
        "b.csv",
        "hour,region\n",
        3,
        "b.csv: line 1: column `object` is missing",
    );
    expect(
        "catalogue.json",
        "{}",
        3,
        "catalogue.json: line 1, column 2: missing field `objects`",
    );
    expect(
        "catalogue.json",
        "{\"objects\": []}",
        3,
        "catalogue: no object; publish a title first",
    );
    let catalogue = read(&files.path("catalogue.json"));
    let negative = catalogue.replacen("\"size\":", "\"size\":-", 1);
    expect("catalogue.json", &negative, 3, "is negative");
    let mut twice: serde_json::Value = serde_json::from_str(&catalogue).unwrap();
    let mut again = twice["objects"][0].clone();
    let path = again["path"].as_str().unwrap().to_owned();
    twice["objects"].as_array_mut().unwrap().push(again.clone());
    expect("catalogue.json", &twice.to_string(), 3, &path);
    again["size"] = 1.into();
    again["path"] = "/t/other/0/x.mp4".into();
    *twice["objects"].as_array_mut().unwrap().last_mut().unwrap() = again;
    expect("catalogue.json", &twice.to_string(), 3, "two sizes");
    expect(
        "a.csv",
        &format!("{header}\n2026-11-22T14Z,nl,{},1,-1\n", "0".repeat(64)),
        3,
        "line 2, column `bytes`: `-1` is not a whole number of 0 or more",
    );
    let fleet = read(&files.path("fleet.json"));
    expect(
        "fleet.json",
        &fleet.replace("\"site\":\"site0\"", "\"site\":\"nowhere\""),
        3,
        "in site nowhere",
    );
    expect(
        "fleet.json",
        &fleet.replace("\"time_zone\":\"UTC\"", "\"time_zone\":\"Mars\""),
        3,
        "`Mars` is not a time zone",
    );
    assert_eq!(
        planner()
            .args(["plan", "--date", "tomorrow"])
            .output()
            .unwrap()
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn odd_inputs_have_a_defined_outcome() {
    let files = Files::new(&World::new(SHAPE));
    let change = |file: &str, from: &str, to: &str| {
        let before = read(&files.path(file));
        assert!(before.contains(from), "{from} in {file}");
        std::fs::write(files.path(file), before.replace(from, to)).unwrap();
        before
    };
    let plan = |out: &str| -> (String, PlanReport) {
        let done = files.plan(&["--out", out]);
        assert!(done.status.success(), "{}", stderr(&done));
        let report = serde_json::from_str(&read(&files.path(out).join("report-1.json"))).unwrap();
        (stderr(&done), report)
    };
    let caps = |report: &PlanReport| report.sites[0].appliances[0].fill_cap.0;
    // A region without a site: its demand counts for the others, and is told of.
    let before = read(&files.path("a.csv"));
    let stray = format!("{before}2026-11-22T14Z,atlantis,{},1,1000\n", "0".repeat(64));
    std::fs::write(files.path("a.csv"), stray).unwrap();
    let (warned, plain) = plan("stray");
    assert!(
        warned.contains("region atlantis has demand but no site"),
        "{warned}"
    );
    std::fs::write(files.path("a.csv"), before).unwrap();
    // A window of no length is a whole day; where the clock changes in it it is as long as it is.
    let window = "\"start\":\"00:00\",\"end\":\"00:00\",\"time_zone\":\"UTC\"";
    let fleet = change("fleet.json", window, &window.replace("00:00", "07:00"));
    assert_eq!(caps(&plan("day").1), caps(&plain));
    std::fs::write(files.path("fleet.json"), &fleet).unwrap();
    // Storage below the smallest title: nothing is placed there, and every title says why.
    let mut small: serde_json::Value = serde_json::from_str(&fleet).unwrap();
    for appliance in small["appliances"].as_array_mut().unwrap() {
        appliance["capacity"]["storage"] = 10.into();
    }
    std::fs::write(files.path("fleet.json"), small.to_string()).unwrap();
    let (_, report) = plan("small");
    for site in &report.sites {
        assert!(site.appliances.iter().all(|a| a.added.0 == 0));
        assert!(!site.left_out.is_empty());
        assert!(
            site.left_out
                .iter()
                .all(|l| l.reason.because().contains("larger than any appliance's storage"))
        );
    }
}
