//! Several drives, and one of them going bad.

use crate::{
    bad_drive::{BadDrive, Mood},
    condition,
    control::FakeControl,
    done,
    world::{Appliance, Media, Source, get, plan, try_get, until},
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const FILES: usize = 16; // so many that each drive has some, whatever the drives' names are

struct World {
    media: Media,
    control: FakeControl,
    appliance: Appliance,
    _source: Source,
    /// The drives' folders; the second one can be made bad.
    a: PathBuf,
    b: PathBuf,
    b_real: PathBuf,
    extra: String,
    _dir: tempfile::TempDir,
}

impl World {
    /// An appliance that has filled both its drives.
    fn filled() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap(); // on a drive
        let [a, b, b_real] = ["a", "b", "b-real"].map(|name| dir.path().join(name));
        fs::create_dir(&b_real).unwrap();
        symlink(&b_real, &b).unwrap();
        let names: Vec<String> = (0..FILES).map(|i| format!("{i}.mp4")).collect();
        let sizes: Vec<_> = names.iter().map(|n| (n.as_str(), 1_300_001)).collect();
        let media = Media::new(&sizes);
        let (control, source) = (FakeControl::start(), Source::serve(&media));
        control.know(&media);
        let listed: Vec<&str> = names.iter().map(String::as_str).collect();
        control.publish(plan(1, &[&source], &media, &listed));
        let extra = format!(
            "drives = [\"{}\", \"{}\"]\ndrive_stall_seconds = 1\n",
            a.display(),
            b.display()
        );
        let appliance = Appliance::start(&control, &extra);
        control.report_where("the fill is done", done(1));
        Self {
            media,
            control,
            appliance,
            _source: source,
            a,
            b,
            b_real,
            extra,
            _dir: dir,
        }
    }

    fn is_on(&self, drive: &Path, name: &str) -> bool {
        let digest = self.media.digest(name).to_string();
        drive.join("objects").join(&digest[..2]).join(digest).exists()
    }

    fn names_on(&self, drive: &Path) -> Vec<String> {
        self.media
            .names()
            .filter(|n| self.is_on(drive, n))
            .cloned()
            .collect()
    }

    fn url(&self, name: &str) -> String {
        self.appliance.url(&self.media.path(name))
    }

    fn all_are_served(&self) {
        for name in self.media.names() {
            let answer = get(&self.url(name), None);
            assert_eq!(answer.status, 200, "{name}");
            assert!(answer.body == self.media.bytes(name), "{name} has other bytes");
        }
    }

    /// Puts a drive that can fail where the second one was.
    fn make_bad(&mut self) -> BadDrive {
        assert_eq!(self.appliance.terminate(), Some(0));
        fs::remove_file(&self.b).unwrap();
        fs::create_dir(&self.b).unwrap();
        let bad = BadDrive::mount(&self.b_real, &self.b);
        self.appliance.restart(&self.extra);
        bad
    }
}

#[test]
fn objects_lie_whole_on_one_of_the_drives_and_are_found_after_a_restart() {
    let mut world = World::filled();
    let (on_a, on_b) = (world.names_on(&world.a), world.names_on(&world.b_real));
    assert!(!on_a.is_empty() && !on_b.is_empty());
    assert_eq!(on_a.len() + on_b.len(), FILES);
    assert!(!world.appliance.root().join("objects").exists());
    world.all_are_served();
    assert_eq!(world.appliance.terminate(), Some(0));
    world.appliance.restart(&world.extra);
    world.all_are_served();
    let (code, text) = world.appliance.command(&["drives"]);
    assert_eq!((code, text.matches("in use").count()), (Some(0), 2), "{text}");
}

/// One drive fails: its responses are reset or refused, never short; the other's go on; it is given up, remembered, and its
/// objects come back on the other one.
fn one_drive_fails(mood: Mood, why: &str) {
    let mut world = World::filled();
    let (on_a, on_b) = (world.names_on(&world.a), world.names_on(&world.b_real));
    let bad = world.make_bad();
    world.all_are_served();
    bad.set(mood);
    std::thread::scope(|scope| {
        for name in &on_b {
            let (world, url) = (&world, world.url(name));
            scope.spawn(move || {
                if let Some(answer) = try_get(&url) {
                    let whole = answer.status == 200 && answer.body == world.media.bytes(name);
                    assert!(
                        whole || answer.status == 404,
                        "{name}: {} with other bytes",
                        answer.status
                    );
                }
            });
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) {
            for name in &on_a {
                let asked = Instant::now();
                assert!(get(&world.url(name), None).body == world.media.bytes(name));
                assert!(
                    asked.elapsed() < Duration::from_millis(900),
                    "held up by the other drive"
                );
            }
        }
    });
    world.control.report_where("the drive is given up", |r| {
        for name in &on_b {
            let _ = try_get(&world.url(name)); // viewers ask on
        }
        condition(r, "drive_ejected")
    });
    until("its objects are back", || {
        on_b.iter().all(|name| world.is_on(&world.a, name))
    });
    until("they are served", || {
        on_b.iter()
            .all(|n| try_get(&world.url(n)).is_some_and(|a| a.status == 200))
    });
    world.all_are_served();
    let (_, text) = world.appliance.command(&["drives"]);
    assert!(text.contains(why), "{text}");
    let metrics = get(&world.appliance.admin("/metrics"), None).text();
    let line = format!("oca_drive_ejected{{drive=\"{}\"}} 1", world.b.display());
    assert!(metrics.contains(&line), "{metrics}");

    bad.set(Mood::Errs); // a process whose reads are never answered cannot end
    world.appliance.kill();
    world.appliance.restart(&world.extra);
    world.all_are_served();
    world
        .control
        .report_where("it is remembered", |r| condition(r, "drive_ejected"));
    let readmit = ["drives", "--readmit", world.b.to_str().unwrap()];
    let (code, text) = world.appliance.command(&readmit);
    assert!(
        code == Some(1) && text.contains("stop the appliance first"),
        "{text}"
    );
    assert_eq!(world.appliance.terminate(), Some(0));
    drop(bad);
    fs::remove_dir(&world.b).unwrap();
    symlink(&world.b_real, &world.b).unwrap();
    let (code, text) = world.appliance.command(&readmit);
    assert!(code == Some(0) && text.contains("verified first"), "{text}");
    world.appliance.restart(&world.extra);
    world
        .control
        .report_where("it is back", |r| !condition(r, "drive_ejected") && done(1)(r));
    world.all_are_served();
    assert!(
        world.names_on(&world.b_real).is_empty(),
        "they lie on the other drive by now"
    );
}

#[test]
fn a_drive_that_errs_is_given_up_and_harms_no_other() {
    one_drive_fails(Mood::Errs, "read only"); // what cannot be read cannot be set aside either
}

#[test]
fn a_drive_that_stalls_is_given_up_and_harms_no_other() {
    one_drive_fails(Mood::Stalls, "has not ended");
}
