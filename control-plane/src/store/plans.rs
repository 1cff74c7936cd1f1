//! Plans: numbered documents, one of them active.

use super::{Store, StoreError, codec};
use cdn_types::{Bytes, PlanNumber, api::v1::PlanSummary, plan::Plan, time::Timestamp};
use serde_json::Value;

/// Plans that are kept: more than a year of nightly ones.
const KEPT_PLANS: i64 = 400;

type SummaryColumns = (i64, String, bool, i64, i64, i64, i64);

const SUMMARY: &str = "SELECT number, date, active, appliances, items, bytes, published
     FROM plans ORDER BY number DESC";

impl Store {
    /// Keeps a new plan; the caller has checked its number. Very old plans are forgotten.
    pub async fn add_plan(&self, plan: &Plan, now: Timestamp) -> Result<(), StoreError> {
        let items = plan.appliances.iter().map(|p| p.items.len() as u64).sum();
        let bytes: Bytes = plan
            .appliances
            .iter()
            .flat_map(|p| &p.items)
            .map(|i| i.size)
            .sum();
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO plans (number, date, document, appliances, items, bytes, published, active)
             VALUES ($1, $2, $3, $4, $5, $6, $7, FALSE)",
        )
        .bind(codec::to_db(plan.number.0))
        .bind(plan.date.to_string())
        .bind(codec::json(plan))
        .bind(codec::to_db(plan.appliances.len() as u64))
        .bind(codec::to_db(items))
        .bind(codec::to_db(bytes.0))
        .bind(now.as_millisecond())
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "DELETE FROM plans WHERE NOT active AND number <=
                 (SELECT number FROM plans ORDER BY number DESC LIMIT 1 OFFSET $1)",
        )
        .bind(KEPT_PLANS)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM plan_notes WHERE number NOT IN (SELECT number FROM plans)")
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Makes one plan the active one.
    pub async fn activate_plan(&self, number: PlanNumber) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE plans SET active = (number = $1) WHERE active OR number = $1")
            .bind(codec::to_db(number.0))
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// All plans, the newest first.
    pub async fn plans(&self) -> Result<Vec<PlanSummary>, StoreError> {
        let rows: Vec<SummaryColumns> = sqlx::query_as(SUMMARY).fetch_all(&self.read).await?;
        rows.into_iter().map(summary).collect()
    }

    /// Keeps a note of a plan, in place of the one of its kind before.
    pub async fn put_plan_note(
        &self,
        number: PlanNumber,
        kind: &str,
        note: &Value,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO plan_notes (number, kind, document) VALUES ($1, $2, $3)
             ON CONFLICT (number, kind) DO UPDATE SET document = excluded.document",
        )
        .bind(codec::to_db(number.0))
        .bind(kind)
        .bind(codec::json(note))
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// A note of a plan.
    pub async fn plan_note(&self, number: PlanNumber, kind: &str) -> Result<Option<Value>, StoreError> {
        let row: Option<(String,)> =
            sqlx::query_as("SELECT document FROM plan_notes WHERE number = $1 AND kind = $2")
                .bind(codec::to_db(number.0))
                .bind(kind)
                .fetch_optional(&self.read)
                .await?;
        row.map(|(text,)| codec::from_json("plan_notes.document", &text))
            .transpose()
    }

    /// The text of one plan.
    pub async fn plan(&self, number: PlanNumber) -> Result<Option<Plan>, StoreError> {
        let row: Option<(String,)> = sqlx::query_as("SELECT document FROM plans WHERE number = $1")
            .bind(codec::to_db(number.0))
            .fetch_optional(&self.read)
            .await?;
        row.map(|(text,)| codec::from_json("plans.document", &text))
            .transpose()
    }
}

fn summary(row: SummaryColumns) -> Result<PlanSummary, StoreError> {
    let (number, date, active, appliances, items, bytes, published) = row;
    Ok(PlanSummary {
        number: PlanNumber(codec::from_db(number)),
        date: codec::parsed("plans.date", &date)?,
        active,
        appliances: codec::from_db(appliances),
        items: codec::from_db(items),
        bytes: Bytes(codec::from_db(bytes)),
        published: codec::time("plans.published", published)?,
    })
}
