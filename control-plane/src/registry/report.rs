//! What a report changes.
//!
//! Reports are idempotent: a report is known by its boot and number, one that is not newer than the last of its boot
//! is ignored, and so is one of a boot that another has followed. The answer is made from the state that we have, so
//! an ignored report gets a right answer too.

use super::{Refusal, Registry, checked_address, refusal::at_most};
use crate::{
    fleet::Known,
    limits,
    store::{self, ApplianceRow, ReportRow, ReportWrite, Status},
};
use cdn_types::{
    Hour, OcaId,
    api::v1::{DemandCount, Report, ReportAnswer},
};
use std::sync::Arc;

/// Demand counts of one report, sorted by what becomes of them.
#[derive(Debug, Default)]
struct Sorted {
    taken: Vec<DemandCount>,
    unknown_object: u64,
    hour_out_of_range: u64,
    above_limit: u64,
}

impl Registry {
    /// Takes a report in and answers it.
    pub async fn report(self: &Arc<Self>, id: OcaId, report: Report) -> Result<ReportAnswer, Refusal> {
        check_boot(&report.boot)?;
        let base_url = checked_address(&report.base_url)?;
        at_most(
            "inventory.added",
            limits::HELD_OBJECTS,
            report.inventory.added.len(),
        )?;
        at_most(
            "inventory.removed",
            limits::HELD_OBJECTS,
            report.inventory.removed.len(),
        )?;
        self.unbroken(move |this| async move {
            let _turn = this.turn.lock().await;
            let before = this.fleet().appliance(&id).map(|a| a.row.clone());
            let before = before.ok_or_else(|| Refusal::NoAppliance(id.clone()))?;
            if this.is_stale(&before, &report).await? {
                this.metrics
                    .count("nightfill_control_reports_total", &["stale"], 1);
                return Ok(this.answer(&before));
            }
            this.take(&before, report, base_url).await
        })
        .await
    }

    async fn is_stale(&self, before: &ApplianceRow, report: &Report) -> Result<bool, Refusal> {
        match &before.report {
            None => Ok(false),
            Some(last) if last.boot == report.boot => Ok(report.seq <= last.seq),
            Some(_) => Ok(self.store.is_former_boot(&before.id, &report.boot).await?),
        }
    }

    async fn take(
        &self,
        before: &ApplianceRow,
        report: Report,
        base_url: String,
    ) -> Result<ReportAnswer, Refusal> {
        let now = store::now();
        let id = &before.id;
        let (change, held, demand) = {
            let fleet = self.fleet();
            (
                fleet.inventory_change(id, &report.boot, &report.inventory),
                fleet.appliance(id).map_or(0, |a| a.held.len()),
                sort(&report.demand, fleet.known(), Hour::of(now)),
            )
        };
        at_most(
            "inventory",
            limits::HELD_OBJECTS,
            held + change.added.len() - change.removed.len(),
        )?;
        let after = ApplianceRow {
            base_url,
            capacity: report.capacity,
            lost: false,
            report: Some(ReportRow {
                boot: report.boot.clone(),
                seq: report.seq,
                at: now,
                status: status(report),
                inventory: change.generation,
                resync: change.resync,
            }),
            ..before.clone()
        };
        let last_boot = before.report.as_ref().map(|r| r.boot.as_str());
        let write = ReportWrite {
            former_boot: last_boot.filter(|last| after.report.as_ref().is_some_and(|r| r.boot != *last)),
            after: &after,
            added: &change.added,
            removed: &change.removed,
            demand: &demand.taken,
        };
        self.store.write_report(&write, now).await?;
        self.count(&demand, change.resync);
        let answer = self.answer(&after);
        let uptime = self.uptime();
        self.apply(|fleet| fleet.report(after, &change, uptime));
        Ok(answer)
    }

    fn answer(&self, row: &ApplianceRow) -> ReportAnswer {
        ReportAnswer {
            next_report_seconds: self.report_seconds,
            resync_inventory: row.report.as_ref().is_some_and(|r| r.resync),
            drain: row.drain,
        }
    }

    fn count(&self, demand: &Sorted, resync: bool) {
        self.metrics
            .count("nightfill_control_reports_total", &["taken"], 1);
        self.metrics.count(
            "nightfill_control_inventory_resyncs_total",
            &[],
            u64::from(resync),
        );
        for (result, n) in [
            ("taken", demand.taken.len() as u64),
            ("unknown_object", demand.unknown_object),
            ("hour_out_of_range", demand.hour_out_of_range),
            ("above_limit", demand.above_limit),
        ] {
            self.metrics
                .count("nightfill_control_demand_counts_total", &[result], n);
        }
    }
}

/// Checks the name of a boot.
pub fn check_boot(boot: &str) -> Result<(), Refusal> {
    match boot.is_empty() || boot.chars().count() > limits::BOOT {
        true => Err(Refusal::Text {
            what: "boot",
            limit: limits::BOOT,
        }),
        false => Ok(()),
    }
}

/// Whether a running process can have counted in this hour.
pub fn is_recent(hour: Hour, now: Hour) -> bool {
    let back = now.0.saturating_sub(limits::COUNT_HOURS_BACK);
    (back..=now.0.saturating_add(limits::COUNT_HOURS_AHEAD)).contains(&hour.0)
}

/// A count of an object or an hour that cannot be is left out, not refused: the rest of the report is still true,
/// and an appliance whose clock is wrong must not be lost for it.
fn sort(counts: &[DemandCount], known: &Known, now: Hour) -> Sorted {
    let mut sorted = Sorted {
        above_limit: counts.len().saturating_sub(limits::REPORT_DEMAND) as u64,
        ..Sorted::default()
    };
    for count in counts.iter().take(limits::REPORT_DEMAND) {
        if !is_recent(count.hour, now) {
            sorted.hour_out_of_range += 1;
        } else if known.title_of(&count.object).is_none() {
            sorted.unknown_object += 1;
        } else {
            sorted.taken.push(DemandCount {
                requests: count.requests.min(limits::COUNT_MAX),
                bytes: cdn_types::Bytes(count.bytes.0.min(limits::COUNT_MAX)),
                ..*count
            });
        }
    }
    sorted
}

/// What is kept of a report's words; texts for people are cut to their limits.
fn status(report: Report) -> Status {
    let cut = |text: String| text.chars().take(limits::TEXT).collect::<String>();
    let mut status = Status {
        health: report.health,
        load: report.load,
        plan: report.plan,
        fill: report.fill,
    };
    status.health.conditions.truncate(limits::CONDITIONS);
    for condition in &mut status.health.conditions {
        condition.kind = cut(std::mem::take(&mut condition.kind));
        condition.detail = cut(std::mem::take(&mut condition.detail));
    }
    status.fill.detail = status.fill.detail.map(cut);
    status
}
