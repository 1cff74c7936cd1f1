//! Counts how sessions could be served and reports that to the control plane.
//!
//! Counts are absolute for this run of the process, by hour: a report that is lost, or sent twice, changes nothing.

use crate::metrics::Metrics;
use cdn_types::{
    Hour, SiteId, TitleId,
    api::v1::{REPORT_SECONDS, SteeringCount, SteeringOutcome, SteeringReport},
    time::Timestamp,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Hours that are kept and reported: the current one and those that a control plane which was away for long would miss.
const KEPT_HOURS: i64 = 24;
/// Most rows: sites × titles × outcomes × hours of a large fleet; beyond it new rows are not begun.
const MAX_ROWS: usize = 500_000;
/// Time for one report.
const TIMEOUT: Duration = Duration::from_secs(20);

type Key = (Hour, Option<SiteId>, TitleId, SteeringOutcome);

/// Sessions counted since the start.
#[derive(Default)]
pub struct Counts(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    rows: BTreeMap<Key, u64>,
    changed: bool,
}

impl Counts {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // A panic while counting leaves a usable table.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one session.
    pub fn add(&self, now: Timestamp, site: Option<&SiteId>, title: &TitleId, outcome: SteeringOutcome) {
        let key = (Hour::of(now), site.cloned(), title.clone(), outcome);
        let mut inner = self.lock();
        if inner.rows.len() < MAX_ROWS || inner.rows.contains_key(&key) {
            *inner.rows.entry(key).or_insert(0) += 1;
            inner.changed = true;
        }
    }

    /// Everything of the last hours, if anything has changed since the last call.
    fn take_changed(&self, now: Timestamp) -> Option<Vec<SteeringCount>> {
        let mut inner = self.lock();
        if !std::mem::take(&mut inner.changed) {
            return None;
        }
        let oldest = Hour(Hour::of(now).0 - KEPT_HOURS);
        inner.rows.retain(|(hour, ..), _| *hour > oldest);
        let rows = inner
            .rows
            .iter()
            .map(|((hour, site, title, outcome), sessions)| SteeringCount {
                hour: *hour,
                site: site.clone(),
                title: title.clone(),
                outcome: *outcome,
                sessions: *sessions,
            });
        Some(rows.collect())
    }

    fn report_again(&self) {
        self.lock().changed = true;
    }
}

/// Sends reports to the control plane.
pub struct Reporter {
    /// Client of the control plane.
    pub client: reqwest::Client,
    /// Scheme and authority of the control plane.
    pub url: String,
    /// Bearer token of the service role.
    pub token: String,
    /// Random name of this run.
    pub boot: String,
    /// What to report.
    pub counts: Arc<Counts>,
    /// Where failures are counted.
    pub metrics: Arc<Metrics>,
}

impl Reporter {
    /// Reports for ever.
    pub async fn follow(self) {
        loop {
            tokio::time::sleep(Duration::from_secs(REPORT_SECONDS)).await;
            self.report().await;
        }
    }

    async fn report(&self) {
        let Some(counts) = self.counts.take_changed(Timestamp::now()) else {
            return;
        };
        let report = SteeringReport {
            boot: self.boot.clone(),
            counts,
        };
        let sent = self
            .client
            .post(format!("{}/v1/steering/report", self.url))
            .timeout(TIMEOUT)
            .bearer_auth(&self.token)
            .json(&report)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status);
        if let Err(error) = sent {
            self.counts.report_again();
            self.metrics.report_errors.inc();
            tracing::warn!("decisions not reported, will be sent again: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_absolute_and_old_hours_go() {
        let counts = Counts::default();
        let title = TitleId::new("a").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let morning = at("2026-11-23T08:10:00Z");
        counts.add(morning, None, &title, SteeringOutcome::Hit);
        counts.add(morning, None, &title, SteeringOutcome::Hit);
        assert_eq!(counts.take_changed(morning).unwrap()[0].sessions, 2);
        assert_eq!(counts.take_changed(morning), None);
        counts.report_again();
        assert_eq!(counts.take_changed(morning).unwrap()[0].sessions, 2);
        counts.add(at("2026-11-24T09:00:00Z"), None, &title, SteeringOutcome::Hit);
        let rows = counts.take_changed(at("2026-11-24T09:00:00Z")).unwrap();
        assert_eq!((rows.len(), rows[0].sessions), (1, 1));
    }
}
