//! Publishing and activating plans. Numbers only grow: what is not above all before is refused, so that two planners
//! or a late one cannot undo each other.

use super::{Refusal, Registry};
use crate::store;
use cdn_types::{
    PlanNumber,
    api::v1::PlanSummary,
    plan::{Plan, PlanItem},
};
use std::sync::Arc;

/// Highest plan number: JSON readers keep larger ones only by chance.
const MAX_NUMBER: u64 = 1 << 53;
/// Farthest above the highest: milliseconds since 1970 fit as numbers, and a slip of one plan leaves room for 4,000.
const MAX_STEP: u64 = 1 << 41;

impl Registry {
    /// Keeps a new plan. It is not executed until it is activated.
    pub async fn publish_plan(self: &Arc<Self>, plan: Plan) -> Result<PlanSummary, Refusal> {
        plan.check()?;
        if plan.number.0 > MAX_NUMBER {
            return Err(Refusal::PlanNumber(plan.number));
        }
        self.unbroken(|this| async move {
            let mut turn = this.turn.lock().await;
            if let Some(highest) = turn.highest.filter(|h| plan.number <= *h) {
                return Err(Refusal::StalePlan {
                    number: plan.number,
                    highest,
                });
            }
            let highest = turn.highest.unwrap_or(PlanNumber(0));
            if plan.number.0 - highest.0 > MAX_STEP {
                return Err(Refusal::PlanStep {
                    number: plan.number,
                    highest,
                });
            }
            this.check_plan(&plan)?;
            this.store.add_plan(&plan, store::now()).await?;
            turn.highest = Some(plan.number);
            this.plan_summary(plan.number).await
        })
        .await
    }

    /// Makes a plan the one that appliances execute. The active one again changes nothing.
    pub async fn activate_plan(self: &Arc<Self>, number: PlanNumber) -> Result<PlanSummary, Refusal> {
        let summary = self
            .unbroken(move |this| async move {
                let _turn = this.turn.lock().await;
                let active = this.active.borrow().as_ref().map(|p| p.number);
                if let Some(active) = active.filter(|a| number < *a) {
                    return Err(Refusal::StaleActivation { number, active });
                }
                let plan = this.store.plan(number).await?.ok_or(Refusal::NoPlan(number))?;
                if active != Some(number) {
                    this.store.activate_plan(number).await?;
                    this.active.send_replace(Some(Arc::new(plan)));
                    tracing::info!(plan = %number, "plan activated");
                }
                this.plan_summary(number).await
            })
            .await?;
        self.forget_versions().await?;
        Ok(summary)
    }

    fn check_plan(&self, plan: &Plan) -> Result<(), Refusal> {
        let fleet = self.fleet();
        for part in &plan.appliances {
            if fleet.appliance(&part.appliance).is_none() {
                return Err(Refusal::PlanAppliance(part.appliance.clone()));
            }
            for item in &part.items {
                item_differs(item, fleet.known().at(&item.path)).map_or(Ok(()), |why| {
                    Err(Refusal::PlanItem {
                        appliance: part.appliance.clone(),
                        path: item.path.clone(),
                        why,
                    })
                })?;
            }
        }
        Ok(())
    }

    /// Keeps what the planner says of a plan.
    pub async fn put_plan_note(
        self: &Arc<Self>,
        number: PlanNumber,
        kind: &'static str,
        note: serde_json::Value,
    ) -> Result<(), Refusal> {
        if note.get("number").and_then(serde_json::Value::as_u64) != Some(number.0) {
            return Err(Refusal::OtherId {
                path: number.to_string(),
                body: note
                    .get("number")
                    .map_or("no `number`".into(), ToString::to_string),
            });
        }
        self.unbroken(|this| async move {
            let _turn = this.turn.lock().await;
            this.plan_summary(number).await?;
            Ok(this.store.put_plan_note(number, kind, &note).await?)
        })
        .await
    }

    async fn plan_summary(&self, number: PlanNumber) -> Result<PlanSummary, Refusal> {
        let plans = self.store.plans().await?;
        plans
            .into_iter()
            .find(|p| p.number == number)
            .ok_or(Refusal::NoPlan(number))
    }
}

fn item_differs(
    item: &PlanItem,
    known: Option<(cdn_types::ObjectDigest, cdn_types::Bytes)>,
) -> Option<String> {
    match known {
        None => Some("no registered title has this path".into()),
        Some((digest, _)) if digest != item.digest => Some(format!(
            "the digest is {}, the catalogue says {digest}",
            item.digest
        )),
        Some((_, size)) if size != item.size => Some(format!(
            "the size is {}, the catalogue says {}",
            item.size.0, size.0
        )),
        Some(_) => None,
    }
}
