//! Appliances as real processes: they join a control plane, fill from real `oca-server serve` sources by plan, serve,
//! report, and are killed, starved and lied to. The control plane is a small one inside the test, so that each test
//! decides what it says; the real one is met in tools/testbed.

#![allow(
    clippy::unwrap_used,
    reason = "a failed step of a test's own set-up is a failed test"
)]

mod bad_drive;
mod bgp;
mod control;
mod drives;
mod viewers;
mod world;

use cdn_types::{
    BLOCK_SIZE, FillWindow,
    api::v1::{FillState, Report},
};
use control::FakeControl;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};
use world::{Appliance, Media, Source, free_port, get, get_with, plan, until};

const MIB: u64 = BLOCK_SIZE;

fn done(number: u64) -> impl Fn(&Report) -> bool {
    move |r| r.plan.map(|p| p.0) == Some(number) && r.fill.state == FillState::Done
}

fn condition(report: &Report, kind: &str) -> bool {
    report.health.conditions.iter().any(|c| c.kind == kind)
}

#[test]
fn fills_by_plan_serves_and_reports() {
    let media = Media::new(&[("a.mp4", 19 * MIB + 7), ("list.m3u8", 900), ("empty", 0)]);
    let (control, source) = (FakeControl::start(), Source::serve(&media));
    control.know(&media);
    control.publish(plan(1, &[&source], &media, &["a.mp4", "list.m3u8", "empty"]));
    let appliance = Appliance::start(&control, "");
    let report = control.report_where("the fill is done", done(1));
    assert_eq!(report.fill.objects_done, 3);
    assert_eq!(report.fill.bytes_done.0, 19 * MIB + 907);
    assert_eq!(report.base_url, appliance.url(""));
    assert!(report.health.serving && !report.health.draining && report.health.conditions.is_empty());
    for name in ["a.mp4", "list.m3u8", "empty"] {
        let answer = get(&appliance.url(&media.path(name)), None);
        assert_eq!(answer.status, 200);
        assert!(answer.body == media.bytes(name), "{name} has other bytes");
        assert_eq!(
            answer.header("content-type").as_deref(),
            Some(media.media_type(name))
        );
        assert!(
            answer
                .header("cache-control")
                .is_some_and(|c| c.contains("immutable"))
        );
    }
    let part = get(
        &appliance.url(&media.path("a.mp4")),
        Some("bytes=1048570-1048579"),
    );
    assert_eq!(
        (part.status, part.body),
        (206, media.bytes("a.mp4")[1048570..1048580].to_vec())
    );
    assert_eq!(get(&appliance.url("/t/t/v/other"), None).status, 404);
    assert_eq!(
        control.inventory(),
        media.digests(&["a.mp4", "list.m3u8", "empty"])
    );
    let peer = get_with(&appliance.url(&media.path("a.mp4")), "user-agent: oca-fill/1\r\n");
    assert_eq!(peer.status, 200);
    // Two requests of viewers for the film, and one of a peer that fills, which is no demand; demand is absolute, so the newest report has it all.
    let film = media.digest("a.mp4");
    let counted = |r: &Report| {
        r.demand
            .iter()
            .any(|d| d.object == film && d.requests == 2 && d.bytes.0 == 19 * MIB + 17)
    };
    control.report_where("demand is counted", counted);
    // And it is not sent again once acknowledged.
    control.report_where("demand is acknowledged", |r| {
        r.demand.is_empty() && r.load.requests > 0
    });
}

#[test]
fn a_join_token_is_used_once_and_the_identity_kept() {
    let control = FakeControl::start();
    let mut appliance = Appliance::start(&control, "");
    control.report_where("it reports", |_| true);
    assert_eq!(control.joins(), 1);
    appliance.kill();
    appliance.restart("");
    control.report_where("it reports again under another boot", |r| {
        r.seq == 1 && control.boots() == 2
    });
    assert_eq!(control.joins(), 1);
    let identity = appliance.root().join("identity.json");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        fs::metadata(identity).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn resumes_after_kill_without_fetching_verified_blocks_again() {
    let media = Media::new(&[("a.mp4", 40 * MIB)]);
    let (control, source) = (FakeControl::start(), Source::serve(&media));
    control.know(&media);
    control.publish(plan(1, &[&source], &media, &["a.mp4"]));
    let mut appliance = Appliance::start(&control, "fill_rate = \"80 Mbps\"\nfill_parallel = 2\n");
    let journal = appliance
        .root()
        .join(format!("partial/{}.blocks", media.digest("a.mp4")));
    let verified = || {
        let bits = fs::read(&journal).unwrap_or_default();
        (0..40u64)
            .filter(|b| {
                bits.get((b / 8) as usize)
                    .is_some_and(|byte| byte >> (b % 8) & 1 == 1)
            })
            .collect::<Vec<_>>()
    };
    until("some blocks are verified", || verified().len() >= 6);
    appliance.kill();
    let kept = verified();
    assert!(kept.len() < 40, "the fill was over before the kill");
    source.settle();
    let asked_before = source.ranges().len();
    appliance.restart("fill_parallel = 2\n");
    control.report_where("the fill is done", |r| done(1)(r) && control.boots() == 2);
    let after = &source.ranges()[asked_before..];
    assert!(!after.is_empty());
    for (from, to) in after {
        let blocks = from / MIB..=to / MIB;
        assert!(
            !kept.iter().any(|b| blocks.contains(b)),
            "{from}-{to} was fetched again; kept {kept:?}"
        );
    }
    let answer = get(&appliance.url(&media.path("a.mp4")), None);
    assert!(answer.body == media.bytes("a.mp4"));
}

#[test]
fn killed_again_and_again_it_ends_with_what_is_planned_and_nothing_else() {
    let files = [
        ("a.mp4", 9 * MIB + 7),
        ("b.mp4", 5 * MIB),
        ("c.mp4", 300),
        ("d.mp4", 3 * MIB),
    ];
    let media = Media::new(&files);
    let names = files.map(|(name, _)| name);
    let (control, source) = (FakeControl::start(), Source::serve(&media));
    control.know(&media);
    control.publish(plan(1, &[&source], &media, &names));
    let slow = "fill_rate = \"60 Mbps\"\n";
    let mut appliance = Appliance::start(&control, slow);
    for round in 0..10u64 {
        std::thread::park_timeout(Duration::from_millis(round * 7919 % 350));
        appliance.kill();
        appliance.restart(slow);
        for name in names {
            let answer = get(&appliance.url(&media.path(name)), None);
            let right = answer.status == 200 && answer.body == media.bytes(name);
            assert!(
                right || answer.status == 404,
                "{name} in round {round}: {}",
                answer.status
            );
        }
    }
    appliance.kill();
    appliance.restart("");
    control.report_where("all is held", |r| {
        r.fill.objects_done == 4 && r.fill.state == FillState::Done
    });
    for name in names {
        assert!(
            get(&appliance.url(&media.path(name)), None).body == media.bytes(name),
            "{name}"
        );
    }
    let left = fs::read_dir(appliance.root().join("partial")).unwrap().count();
    assert_eq!(left, 0, "nothing is left of what was interrupted");
}

#[test]
fn a_source_that_flips_a_byte_is_left_for_another() {
    let media = Media::new(&[("a.mp4", 12 * MIB), ("b.mp4", 2 * MIB)]);
    let mut wrong = media.clone();
    wrong.flip("a.mp4", 5 * MIB + 1000);
    let (control, corrupt, right) = (FakeControl::start(), Source::serve(&wrong), Source::serve(&media));
    control.know(&media);
    control.publish(plan(1, &[&corrupt, &right], &media, &["a.mp4", "b.mp4"]));
    let appliance = Appliance::start(&control, "fill_parallel = 2\n");
    let report = control.report_where("the fill is done", done(1));
    assert!(condition(&report, "source_corrupt"), "{report:?}");
    let detail = &report.health.conditions[0].detail;
    assert!(
        detail.contains(&corrupt.url("")) && detail.contains("a.mp4"),
        "{detail}"
    );
    assert!(get(&appliance.url(&media.path("a.mp4")), None).body == media.bytes("a.mp4"));
    // The wrong block came from the other source; the corrupt one still gave the other object.
    assert!(
        right
            .ranges()
            .iter()
            .any(|(from, to)| (from / MIB..=to / MIB).contains(&5))
    );
    assert!(corrupt.paths().contains(&media.path("b.mp4")));
}

#[test]
fn an_object_that_only_a_corrupt_source_has_is_never_served() {
    let media = Media::new(&[("a.mp4", 3 * MIB), ("b.mp4", MIB)]);
    let mut wrong = media.clone();
    wrong.flip("a.mp4", 17);
    let (control, corrupt) = (FakeControl::start(), Source::serve(&wrong));
    control.know(&media);
    control.publish(plan(1, &[&corrupt], &media, &["a.mp4", "b.mp4"]));
    let appliance = Appliance::start(&control, "");
    let report = control.report_where("it stops", |r| r.fill.state == FillState::Stopped);
    assert!(condition(&report, "source_corrupt"));
    assert!(report.fill.detail.is_some_and(|d| d.contains("a.mp4")));
    assert_eq!(get(&appliance.url(&media.path("a.mp4")), None).status, 404);
    until("the other object is served", || {
        get(&appliance.url(&media.path("b.mp4")), None).status == 200
    });
    assert_eq!(control.inventory(), media.digests(&["b.mp4"]));
}

#[test]
fn a_source_that_is_gone_or_lacks_the_object_is_left_for_the_next() {
    let media = Media::new(&[("a.mp4", 2 * MIB)]);
    let nothing = Media::new(&[]);
    let (control, empty, right) = (
        FakeControl::start(),
        Source::serve(&nothing),
        Source::serve(&media),
    );
    control.know(&media);
    let mut part = plan(1, &[&empty, &right], &media, &["a.mp4"]);
    let gone = format!("http://127.0.0.1:{}", free_port());
    let sources = &mut part.part.as_mut().unwrap().sources;
    sources.insert(
        0,
        cdn_types::plan::FillSource {
            base_url: gone,
            ..sources[0].clone()
        },
    );
    part.part.as_mut().unwrap().items[0].from = vec![0, 1, 2];
    control.publish(part);
    let _appliance = Appliance::start(&control, "");
    control.report_where("the fill is done", done(1));
    assert_eq!(empty.paths(), [media.path("a.mp4")]);
}

#[test]
fn a_stale_plan_is_refused() {
    let media = Media::new(&[("a.mp4", MIB), ("b.mp4", MIB)]);
    let (control, source) = (FakeControl::start(), Source::serve(&media));
    control.know(&media);
    control.publish(plan(5, &[&source], &media, &["a.mp4"]));
    let mut appliance = Appliance::start(&control, "");
    control.report_where("plan 5 is filled", done(5));
    control.publish(plan(4, &[&source], &media, &["b.mp4"]));
    let report = control.report_where("plan 4 is refused", |r| condition(r, "stale_plan"));
    assert!(done(5)(&report));
    // Nor does a restart forget the number.
    appliance.kill();
    appliance.restart("");
    let report = control.report_where("refused again", |r| {
        control.boots() == 2 && condition(r, "stale_plan")
    });
    assert!(done(5)(&report), "{report:?}");
    assert_eq!(get(&appliance.url(&media.path("b.mp4")), None).status, 404);
    control.publish(plan(6, &[&source], &media, &["b.mp4"]));
    let report = control.report_where("plan 6 is filled", done(6));
    assert!(!condition(&report, "stale_plan"));
}

#[test]
fn what_the_plan_no_longer_lists_is_dropped_once_all_is_held() {
    let media = Media::new(&[("a.mp4", MIB), ("b.mp4", 30 * MIB), ("c.mp4", MIB)]);
    let (control, source) = (FakeControl::start(), Source::serve(&media));
    control.know(&media);
    control.publish(plan(1, &[&source], &media, &["a.mp4", "c.mp4"]));
    let appliance = Appliance::start(&control, "fill_rate = \"60 Mbps\"\n");
    control.report_where("plan 1 is filled", done(1));
    control.publish(plan(2, &[&source], &media, &["b.mp4", "c.mp4"]));
    control.report_where("plan 2 is being filled", |r| {
        r.plan.is_some_and(|p| p.0 == 2) && r.fill.state == FillState::Filling
    });
    assert_eq!(
        get(&appliance.url(&media.path("a.mp4")), None).status,
        200,
        "dropped too early"
    );
    control.report_where("plan 2 is filled", done(2));
    until("a is dropped", || {
        get(&appliance.url(&media.path("a.mp4")), None).status == 404
    });
    until("the inventory tells", || {
        control.inventory() == media.digests(&["b.mp4", "c.mp4"])
    });
    assert!(!appliance.object(&media.digest("a.mp4")).exists());
}

#[test]
fn filling_and_serving_go_on_without_the_control_plane() {
    let media = Media::new(&[("a.mp4", 24 * MIB), ("small", 100)]);
    let (control, source) = (FakeControl::start(), Source::serve(&media));
    control.know(&media);
    control.publish(plan(1, &[&source], &media, &["small", "a.mp4"]));
    let mut appliance = Appliance::start(&control, "fill_rate = \"80 Mbps\"\n");
    until("the film is begun", || {
        appliance.partial(&media.digest("a.mp4")).exists()
    });
    control.set_away(true);
    until("it notices", || {
        get(&appliance.admin("/readyz"), None)
            .text()
            .contains("control_unreachable")
    });
    assert_eq!(
        get(&appliance.admin("/readyz"), None).status,
        200,
        "it serves all the same"
    );
    assert!(
        get(&appliance.admin("/metrics"), None)
            .text()
            .contains("oca_control_reachable 0")
    );
    // A restart in between: plan, block digests and verified blocks are on the disk.
    appliance.kill();
    appliance.restart("");
    until("the film is served", || {
        get(&appliance.url(&media.path("a.mp4")), None).status == 200
    });
    assert!(get(&appliance.url(&media.path("a.mp4")), None).body == media.bytes("a.mp4"));
    control.set_away(false);
    let film = media.digest("a.mp4");
    control.report_where("demand waited", |r| r.demand.iter().any(|d| d.object == film));
    control.report_where("all is well again", |r| {
        done(1)(r) && r.health.conditions.is_empty()
    });
}

#[test]
fn a_closed_window_waits() {
    let media = Media::new(&[("a.mp4", MIB)]);
    let (control, source) = (FakeControl::start(), Source::serve(&media));
    control.know(&media);
    let mut part = plan(1, &[&source], &media, &["a.mp4"]);
    let now = cdn_types::time::Timestamp::now().as_second();
    let clock = |hours: i64| format!("{:02}:00", (now / 3600 + hours).rem_euclid(24));
    part.part.as_mut().unwrap().window = FillWindow::new(&clock(3), &clock(5), "UTC").unwrap();
    control.publish(part);
    let appliance = Appliance::start(&control, "");
    let report = control.report_where("it waits", |r| r.fill.state == FillState::WaitingForWindow);
    assert!(report.fill.detail.is_some_and(|d| d.contains("opens at")));
    assert_eq!(report.fill.objects_total, 1);
    assert_eq!(source.ranges(), []);
    control.publish(plan(2, &[&source], &media, &["a.mp4"]));
    control.report_where("an open window fills", done(2));
    assert_eq!(get(&appliance.url(&media.path("a.mp4")), None).status, 200);
}

#[test]
fn a_full_disk_stops_the_fill_and_serving_goes_on() {
    let media = Media::new(&[
        ("a.mp4", 2 * MIB),
        ("b.mp4", 2 * MIB),
        ("c.mp4", 2 * MIB),
        ("old", 2 * MIB),
    ]);
    let (control, source) = (FakeControl::start(), Source::serve(&media));
    control.know(&media);
    control.publish(plan(1, &[&source], &media, &["old", "a.mp4"]));
    let disk = world::SmallDisk::mount("8m");
    fs::write(disk.path().join("somebody-elses"), vec![1; 5 << 19]).unwrap();
    let appliance = Appliance::start_in(disk.path(), &control, "min_free = 65536\n");
    control.report_where("plan 1 is filled", done(1));
    control.publish(plan(2, &[&source], &media, &["a.mp4", "b.mp4", "c.mp4"]));
    let report = control.report_where("it stops", |r| r.fill.state == FillState::Stopped);
    assert!(condition(&report, "disk_full"), "{report:?}");
    assert_eq!(
        report.fill.objects_done, 2,
        "what the plan does not list made room: {report:?}"
    );
    assert!(report.fill.detail.is_some_and(|d| d.contains("no room")));
    assert!(report.health.serving);
    assert!(get(&appliance.url(&media.path("a.mp4")), None).body == media.bytes("a.mp4"));
    assert_eq!(control.inventory(), media.digests(&["a.mp4", "b.mp4"]));
    // A plan that fits mends it.
    control.publish(plan(3, &[&source], &media, &["a.mp4", "c.mp4"]));
    let report = control.report_where("plan 3 is filled", done(3));
    assert!(!condition(&report, "disk_full"));
}

#[test]
fn an_object_that_rots_on_the_disk_is_fetched_again() {
    let media = Media::new(&[("a.mp4", 2 * MIB)]);
    let (control, source) = (FakeControl::start(), Source::serve(&media));
    control.know(&media);
    control.publish(plan(1, &[&source], &media, &["a.mp4"]));
    let mut appliance = Appliance::start(&control, "");
    control.report_where("plan 1 is filled", done(1));
    appliance.kill();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(appliance.object(&media.digest("a.mp4")))
        .unwrap();
    file.set_len(MIB).unwrap();
    let before = source.ranges().len();
    appliance.restart("");
    control.report_where("plan 1 is filled again", |r| control.boots() == 2 && done(1)(r));
    assert!(source.ranges().len() > before);
    assert!(get(&appliance.url(&media.path("a.mp4")), None).body == media.bytes("a.mp4"));
}

#[test]
fn the_control_plane_drains_and_undrains_and_sigterm_says_farewell() {
    let control = FakeControl::start();
    let mut appliance = Appliance::start(&control, "");
    control.set_drain(true);
    control.report_where("it drains", |r| r.health.draining && r.health.serving);
    assert_eq!(get(&appliance.admin("/readyz"), None).status, 503);
    control.set_drain(false);
    control.report_where("it is back", |r| !r.health.draining);
    assert_eq!(get(&appliance.admin("/readyz"), None).status, 200);
    assert_eq!(appliance.terminate(), Some(0));
    let last = control.last_report();
    assert!(last.health.draining && !last.health.serving, "{last:?}");
}

#[test]
fn what_is_drawn_while_it_drains_is_reported_too() {
    let media = Media::new(&[("a.mp4", 24 * MIB)]);
    let (control, source) = (FakeControl::start(), Source::serve(&media));
    control.know(&media);
    control.publish(plan(1, &[&source], &media, &["a.mp4"]));
    let mut appliance = Appliance::start(&control, "");
    control.report_where("the fill is done", done(1));
    let url = appliance.url("");
    let mut viewer = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    write!(viewer, "GET {} HTTP/1.1\r\nhost: h\r\n\r\n", media.path("a.mp4")).unwrap();
    viewer.read_exact(&mut [0; 12]).unwrap(); // the rest does not fit the socket's buffers
    appliance.signal();
    control.report_where("it leaves", |r| !r.health.serving);
    let mut rest = Vec::new();
    viewer.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(media.bytes("a.mp4")));
    assert_eq!(appliance.wait(), Some(0));
    let drawn: u64 = control.last_report().demand.iter().map(|d| d.bytes.0).sum();
    assert_eq!(drawn, 24 * MIB);
}

#[test]
fn an_upgraded_appliance_goes_on_filling_serving_and_counting() {
    let media = Media::new(&[("a.mp4", 24 * MIB), ("b.mp4", 16 * MIB), ("c.mp4", 5 * MIB)]);
    let (control, source) = (FakeControl::start(), Source::serve(&media));
    control.know(&media);
    control.publish(plan(1, &[&source], &media, &["a.mp4"]));
    let mut appliance = Appliance::start(&control, "fill_rate = \"100 Mbps\"\nfill_parallel = 2\n");
    control.report_where("a part is held", done(1));
    control.publish(plan(2, &[&source], &media, &["a.mp4", "b.mp4"]));
    let url = appliance.url("");
    let mut viewer = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    write!(viewer, "GET {} HTTP/1.1\r\nhost: h\r\n\r\n", media.path("a.mp4")).unwrap();
    viewer.read_exact(&mut [0; 12]).unwrap(); // the rest does not fit the socket's buffers
    control.report_where("the rest comes in", |r| {
        r.plan.map(|p| p.0) == Some(2) && r.fill.state == FillState::Filling
    });
    appliance.upgrade().unwrap();
    control.report_where("another process fills", |r| {
        control.boots() == 2 && done(2)(r) && r.health.serving
    });
    assert_eq!(control.inventory(), media.digests(&["a.mp4", "b.mp4"]));
    assert_eq!(get(&appliance.url(&media.path("b.mp4")), None).status, 200);
    let fetched: u64 = source.ranges().iter().map(|(from, to)| to - from + 1).sum();
    assert!(fetched < 56 * MIB, "{fetched} bytes were fetched for 40 MiB");
    // The old process finishes what runs, and its counts are reported by the new one.
    let (mut body, film) = (Vec::new(), media.bytes("a.mp4"));
    while !body.ends_with(&film[film.len() - 100..]) {
        let mut piece = vec![0; 1 << 20];
        let n = viewer.read(&mut piece).unwrap();
        assert!(n > 0, "cut after {} bytes", body.len());
        body.extend_from_slice(&piece[..n]);
    }
    assert!(body.ends_with(film));
    drop(viewer); // it could ask once more
    assert_eq!(appliance.wait(), Some(0));
    let film = media.digest("a.mp4");
    let counted = |r: &Report| r.demand.iter().any(|d| d.object == film && d.bytes.0 == 24 * MIB);
    control.report_where("what was drawn from the old process is reported", counted);
    // A new process that fails after it had the folder gives it back.
    let identity = appliance.root().join("identity.json");
    let text = fs::read(&identity).unwrap();
    fs::write(&identity, "{").unwrap();
    let error = appliance.upgrade().unwrap_err();
    assert!(error.contains("ended before it was ready"), "{error}");
    fs::write(&identity, text).unwrap();
    control.publish(plan(3, &[&source], &media, &["a.mp4", "b.mp4", "c.mp4"]));
    control.report_where("the old process still fills", |r| {
        control.boots() == 2 && done(3)(r)
    });
    assert_eq!(
        appliance.second_on_the_same_root().0,
        Some(1),
        "the folder is held"
    );
}

#[test]
fn check_names_every_problem_and_what_a_good_file_comes_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let out = Command::new(env!("CARGO_BIN_EXE_oca-server"))
            .arg("check")
            .arg("--config")
            .arg(&file)
            .output()
            .unwrap();
        let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
        (out.status.code(), text(out.stdout), text(out.stderr))
    };
    let good = "id = \"oca-1\"\ncontrol = \"http://127.0.0.1:1\"\nlisten = \"127.0.0.1:0\"\nroot = \"r\"\nstorage = \"1 GB\"\n";
    let (code, out, err) = check(good);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.starts_with("ok: ")
            && out.contains("storage      1.0 GB")
            && out.contains("placement    node 0: "),
        "{out}"
    );
    assert!(!dir.path().join("r").exists(), "check touches nothing");
    let (code, out, err) = check(&good.replace("1 GB", "900 TB"));
    assert_eq!(code, Some(0));
    assert!(
        err.contains(":5: storage: 900 TB is more than the file system"),
        "{err}"
    );
    assert!(out.contains("900 TB"), "{out}");
    let (code, out, err) = check(&format!("{good}bogus = 1\ncert = \"missing.pem\"\n"));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let name = file.display();
    assert!(
        err.contains(&format!("{name}:6: bogus: there is no such key")),
        "{err}"
    );
    assert!(err.contains("cert and key belong together"), "{err}");
    assert!(err.trim_end().ends_with("3 problems"), "{err}");
}

#[test]
fn what_keeps_it_from_starting_is_one_line() {
    let control = FakeControl::start();
    let appliance = Appliance::start(&control, "");
    let second = appliance.second_on_the_same_root();
    assert_eq!(second.0, Some(1));
    assert!(
        second.1.contains("error: ") && second.1.matches("another oca-server").count() == 1,
        "{}",
        second.1
    );
}
