//! The plan: waited for by long poll, checked, kept over restarts. Numbers only grow: a part that is not above the
//! one executed is refused, whoever offers it, so that an old plan that turns up again undoes nothing.

use crate::{
    control::{Control, Identity, PlanAnswer},
    drain::Drain,
    metrics::Metrics,
    report::{
        conditions::{self, Conditions},
        note_contact, pace,
    },
    store::layout::{self, Layout},
};
use cdn_types::{OcaId, PlanNumber, api::v1::PlanPart, plan::AppliancePlan};
use std::{io, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Least time between two polls, should the control plane answer at once every time.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// The plan that is executed, shared by who needs it.
#[derive(Debug, Clone)]
pub struct Plans(watch::Sender<Option<Arc<PlanPart>>>);

impl Plans {
    /// Starts from what the folder keeps.
    pub fn load(layout: &Layout, me: &OcaId) -> io::Result<Self> {
        let kept = match std::fs::read(layout.plan()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        let part = kept.and_then(|text| match serde_json::from_slice::<PlanPart>(&text) {
            Ok(part) if judge(None, me, &part) == Verdict::Take => Some(Arc::new(part)),
            _ => {
                tracing::warn!("the kept plan is damaged or of another appliance; waiting for a new one");
                None
            }
        });
        Ok(Self(watch::Sender::new(part)))
    }

    /// The number of the plan that is executed.
    pub fn number(&self) -> Option<PlanNumber> {
        self.0.borrow().as_ref().map(|p| p.number)
    }

    /// To be told of a new one; the present one counts as seen.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<PlanPart>>> {
        self.0.subscribe()
    }
}

/// What to do with a plan part that is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Execute it.
    Take,
    /// It is the one executed.
    Same,
    /// Its number is below the one executed.
    Stale(PlanNumber),
    /// It cannot be executed, for this reason.
    Invalid(String),
}

/// Judges a part that is offered to `me`, who executes `have`.
pub fn judge(have: Option<PlanNumber>, me: &OcaId, offered: &PlanPart) -> Verdict {
    match have {
        Some(have) if offered.number == have => return Verdict::Same,
        Some(have) if offered.number < have => return Verdict::Stale(have),
        _ => {}
    }
    let Some(part) = &offered.part else {
        return Verdict::Take;
    };
    if part.appliance != *me {
        return Verdict::Invalid(format!("it is the part of appliance {}", part.appliance));
    }
    match part.check() {
        Ok(()) => first_contradiction(part).map_or(Verdict::Take, Verdict::Invalid),
        Err(e) => Verdict::Invalid(e.to_string()),
    }
}

/// Two paths of one object must agree on its size.
fn first_contradiction(part: &AppliancePlan) -> Option<String> {
    let mut sizes = std::collections::HashMap::new();
    let differs = |i: &&cdn_types::plan::PlanItem| *sizes.entry(i.digest).or_insert(i.size) != i.size;
    let item = part.items.iter().find(differs)?;
    Some(format!("object {} has two sizes", item.digest))
}

/// Polls for plans until the process ends.
#[derive(Debug)]
pub struct PlanWatch {
    /// Whom to ask.
    pub control: Control,
    /// As whom.
    pub identity: Identity,
    /// Where to keep it.
    pub layout: Layout,
    /// Whom to tell.
    pub plans: Plans,
    /// What is wrong.
    pub conditions: Conditions,
    /// Shows whether the control plane answers.
    pub metrics: Arc<Metrics>,
}

impl PlanWatch {
    /// Runs until the process ends.
    pub async fn run(self, drain: Drain) {
        tokio::select! {
            () = self.poll() => {}
            () = drain.stopped() => {}
        }
    }

    async fn poll(&self) {
        let (mut tag, mut failures) = (None, 0);
        loop {
            let least = tokio::time::Instant::now() + LEAST_PAUSE;
            let answer = self.control.plan(&self.identity, tag.as_deref()).await;
            note_contact(&self.conditions, &self.metrics, answer.as_ref().err());
            failures = if answer.is_ok() { 0 } else { failures + 1 };
            match answer {
                Ok(PlanAnswer::Unchanged) => {}
                Ok(PlanAnswer::None) => tag = None,
                Ok(PlanAnswer::Part(part, new_tag)) => {
                    tag = new_tag;
                    self.offered(*part);
                }
                Err(e) => {
                    tracing::debug!(error = %e, "plan poll failed");
                    tokio::time::sleep(pace::pause(failures, pace::roll())).await;
                }
            }
            tokio::time::sleep_until(least).await;
        }
    }

    fn offered(&self, part: PlanPart) {
        let number = part.number;
        match judge(self.plans.number(), &self.identity.appliance, &part) {
            Verdict::Take => {
                self.keep(&part);
                tracing::info!(plan = %number, "new plan");
                self.plans.0.send_replace(Some(Arc::new(part)));
            }
            Verdict::Same => {}
            Verdict::Stale(have) => {
                let detail =
                    format!("plan {number} is offered and plan {have} is executed; publish one above {have}");
                self.conditions.set(conditions::STALE_PLAN, detail);
                return;
            }
            Verdict::Invalid(why) => {
                self.conditions.set(
                    conditions::PLAN_INVALID,
                    format!("plan {number} is refused: {why}"),
                );
                return;
            }
        }
        self.conditions.clear(conditions::STALE_PLAN);
        self.conditions.clear(conditions::PLAN_INVALID);
    }

    /// A plan that cannot be kept (full disk) is executed all the same; a restart asks for it again.
    fn keep(&self, part: &PlanPart) {
        let text = serde_json::to_vec(part).map_err(io::Error::other);
        if let Err(e) = text.and_then(|t| layout::replace(&self.layout.plan(), &t, 0o644)) {
            tracing::warn!(error = %e, "cannot keep the plan on the disk");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u64, appliance: &str) -> PlanPart {
        let text = format!(
            r#"{{"number":{number},"date":"2026-11-24","part":{{"appliance":"{appliance}","site":"s","region":"r",
            "window":{{"start":"00:00","end":"00:00","time_zone":"UTC"}},"fill_rate":1,"sources":[{{"kind":"origin",
            "base_url":"http://o"}}],"items":[],"drops":[]}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn numbers_only_grow() {
        let me = OcaId::new("a").unwrap();
        let number = |n| Some(PlanNumber(n));
        assert_eq!(judge(None, &me, &part(7, "a")), Verdict::Take);
        assert_eq!(judge(number(6), &me, &part(7, "a")), Verdict::Take);
        assert_eq!(judge(number(7), &me, &part(7, "a")), Verdict::Same);
        assert_eq!(
            judge(number(8), &me, &part(7, "a")),
            Verdict::Stale(PlanNumber(8))
        );
        assert!(matches!(judge(None, &me, &part(7, "b")), Verdict::Invalid(_)));
    }

    #[test]
    fn a_kept_plan_is_executed_after_a_restart_and_a_damaged_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let me = OcaId::new("a").unwrap();
        assert_eq!(Plans::load(&layout, &me).unwrap().number(), None);
        std::fs::write(layout.plan(), serde_json::to_vec(&part(7, "a")).unwrap()).unwrap();
        assert_eq!(Plans::load(&layout, &me).unwrap().number(), Some(PlanNumber(7)));
        std::fs::write(layout.plan(), "{\"number\":9").unwrap();
        assert_eq!(Plans::load(&layout, &me).unwrap().number(), None);
    }
}
