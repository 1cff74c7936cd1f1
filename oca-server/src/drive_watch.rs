//! Watches the drives: shows how they do, and gives one up that errs too often or does not answer. The others go on; what the
//! plan lists of it is fetched again onto them; viewers who ask for it meanwhile get the answer for what is not here.

use crate::{
    drain::Drain,
    metrics::Metrics,
    report::conditions::{self, Conditions},
    store::Store,
};
use std::{sync::Arc, time::Duration};
use tokio::time::MissedTickBehavior;

/// How often drives are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What the watch works with.
#[derive(Debug)]
pub struct DriveWatch {
    /// Whose drives.
    pub store: Arc<Store>,
    /// What is wrong.
    pub conditions: Conditions,
    /// Where it shows.
    pub metrics: Arc<Metrics>,
    /// How long a read may take.
    pub stall: Duration,
}

impl DriveWatch {
    /// Watches until the process ends.
    pub async fn run(self, drain: Drain) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.tell();
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = drain.stopped() => return,
            }
            self.look();
        }
    }

    fn look(&self) {
        for place in self.store.places() {
            let drive = &place.drive;
            let name = place.layout.root().display().to_string();
            let gauge = |metric, value| self.metrics.gauge(metric, &[&name]).set(value);
            gauge("oca_drive_reads", drive.under_way() as f64);
            gauge("oca_drive_read_seconds", drive.latency());
            gauge("oca_drive_ejected", f64::from(u8::from(drive.is_given_up())));
            if !self.store.has_drives() || drive.is_given_up() {
                continue;
            }
            if let Some(why) = drive.verdict(self.stall) {
                drive.give_up(); // at once, whatever the rest waits for
                tracing::error!(drive = %name, %why, "drive is given up");
                let (store, index) = (Arc::clone(&self.store), drive.index);
                tokio::task::spawn_blocking(move || store.eject(index, &why));
            }
        }
        self.tell();
    }

    fn tell(&self) {
        let name = |p: &crate::store::drives::Place| {
            let why = p.out()?;
            Some(format!("{}: {why}", p.layout.root().display()))
        };
        let out: Vec<_> = self.store.places().iter().filter_map(name).collect();
        if !out.is_empty() {
            self.conditions.set(conditions::DRIVE_EJECTED, out.join("; "));
        }
    }
}
