//! Appliances: who joined, what the last report said, and what each holds.

use super::{BATCH, QueryBuilder, Store, StoreError, Tx, codec, tokens::INSERT_TOKEN};
use cdn_types::{
    ObjectDigest, OcaId, PlanNumber, SiteId,
    api::v1::{Capacity, DemandCount, FillStatus, Health, Load, Role},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// Former boots that are remembered an appliance: a report that is later than so many restarts is not to be expected.
const FORMER_BOOTS: i64 = 64;

/// What the last report said, apart from the inventory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// How it is.
    pub health: Health,
    /// What it does.
    pub load: Load,
    /// Plan that it executes.
    pub plan: Option<PlanNumber>,
    /// How its fill goes.
    pub fill: FillStatus,
}

/// One appliance with all that a restart must find again, except its inventory.
#[derive(Debug, Clone, PartialEq)]
pub struct ApplianceRow {
    /// Its id.
    pub id: OcaId,
    /// Its site.
    pub site: SiteId,
    /// Where it is reached.
    pub base_url: String,
    /// Its hardware profile.
    pub profile: String,
    /// What it can do.
    pub capacity: Capacity,
    /// Whether the operator wants it drained.
    pub drain: bool,
    /// Whether it has missed its reports.
    pub lost: bool,
    /// The last report, if one came since it joined.
    pub report: Option<ReportRow>,
}

/// The last report.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportRow {
    /// Name of the process's run.
    pub boot: String,
    /// Its number in the boot.
    pub seq: u64,
    /// When it came, by our clock.
    pub at: Timestamp,
    /// What it said.
    pub status: Status,
    /// Generation of the inventory that we have, if we have one of this boot.
    pub inventory: Option<u64>,
    /// Whether the whole inventory was asked for.
    pub resync: bool,
}

/// What one report changes.
pub struct ReportWrite<'a> {
    /// The appliance after it.
    pub after: &'a ApplianceRow,
    /// The boot that this report's boot follows.
    pub former_boot: Option<&'a str>,
    /// Objects gained.
    pub added: &'a [ObjectDigest],
    /// Objects lost.
    pub removed: &'a [ObjectDigest],
    /// Demand to take in.
    pub demand: &'a [DemandCount],
}

type ApplianceColumns = (
    String,
    String,
    String,
    String,
    String,
    bool,
    bool,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<i64>,
    bool,
);

impl Store {
    /// All appliances.
    pub async fn appliances(&self) -> Result<Vec<ApplianceRow>, StoreError> {
        let rows: Vec<ApplianceColumns> = sqlx::query_as(
            "SELECT id, site, base_url, profile, capacity, drain, lost, boot, seq, last_report, status,
                    inventory_generation, resync
             FROM appliances ORDER BY id",
        )
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(appliance).collect()
    }

    /// What every appliance holds.
    pub async fn holdings(&self) -> Result<Vec<(OcaId, ObjectDigest)>, StoreError> {
        let rows: Vec<(String, Vec<u8>)> =
            sqlx::query_as("SELECT appliance, object FROM holdings ORDER BY appliance")
                .fetch_all(&self.read)
                .await?;
        rows.iter()
            .map(|(appliance, object)| {
                Ok((
                    codec::parsed("holdings.appliance", appliance)?,
                    codec::digest("holdings.object", object)?,
                ))
            })
            .collect()
    }

    /// Boots of an appliance that later ones have followed.
    pub async fn is_former_boot(&self, id: &OcaId, boot: &str) -> Result<bool, StoreError> {
        let (n,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM former_boots WHERE appliance = $1 AND boot = $2")
                .bind(id.to_string())
                .bind(boot.to_owned())
                .fetch_one(&self.read)
                .await?;
        Ok(n > 0)
    }

    /// An appliance joins, perhaps anew: it starts without report and inventory, and its earlier tokens end.
    pub async fn join(
        &self,
        row: &ApplianceRow,
        join_hash: &[u8; 32],
        token_hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = row.id.to_string();
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO appliances (id, site, base_url, profile, capacity, joined, drain, lost, resync)
             VALUES ($1, $2, $3, $4, $5, $6, $7, FALSE, FALSE)
             ON CONFLICT (id) DO UPDATE SET site = excluded.site, base_url = excluded.base_url,
                 profile = excluded.profile, capacity = excluded.capacity, joined = excluded.joined,
                 drain = excluded.drain, lost = FALSE, resync = FALSE, boot = NULL, seq = NULL,
                 last_report = NULL, status = NULL, inventory_generation = NULL",
        )
        .bind(id.clone())
        .bind(row.site.to_string())
        .bind(row.base_url.clone())
        .bind(row.profile.clone())
        .bind(codec::json(&row.capacity))
        .bind(now.as_millisecond())
        .bind(row.drain)
        .execute(&mut *tx)
        .await?;
        for forget in [
            "DELETE FROM holdings WHERE appliance = $1",
            "DELETE FROM tokens WHERE appliance = $1",
        ] {
            sqlx::query(forget).bind(id.clone()).execute(&mut *tx).await?;
        }
        sqlx::query("UPDATE join_tokens SET presented = $2 WHERE hash = $1")
            .bind(join_hash.to_vec())
            .bind(now.as_millisecond())
            .execute(&mut *tx)
            .await?;
        sqlx::query(INSERT_TOKEN)
            .bind(token_hash.to_vec())
            .bind(codec::name(Role::Appliance))
            .bind(id.clone())
            .bind(id)
            .bind(now.as_millisecond())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Keeps what a report said. The appliance's join token ends with it.
    pub async fn write_report(&self, write: &ReportWrite<'_>, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        update_appliance(&mut tx, write.after).await?;
        let id = write.after.id.to_string();
        if let Some(former) = write.former_boot {
            end_boot(&mut tx, &id, former, now).await?;
        }
        sqlx::query(
            "UPDATE join_tokens SET used = $2 WHERE appliance = $1 AND presented IS NOT NULL AND used IS NULL",
        )
        .bind(id.clone())
        .bind(now.as_millisecond())
        .execute(&mut *tx)
        .await?;
        for objects in write.removed.chunks(BATCH) {
            let mut delete = QueryBuilder::new("DELETE FROM holdings WHERE appliance = ");
            delete.push_bind(id.clone()).push(" AND object IN (");
            let mut list = delete.separated(", ");
            for object in objects {
                list.push_bind(codec::blob(object));
            }
            delete.push(")");
            delete.build().execute(&mut *tx).await?;
        }
        for objects in write.added.chunks(BATCH) {
            let mut insert = QueryBuilder::new("INSERT INTO holdings (appliance, object) ");
            insert.push_values(objects, |mut row, object| {
                row.push_bind(id.clone()).push_bind(codec::blob(object));
            });
            insert.push(" ON CONFLICT DO NOTHING");
            insert.build().execute(&mut *tx).await?;
        }
        let boot = write.after.report.as_ref().map_or("", |r| &r.boot);
        for counts in write.demand.chunks(BATCH) {
            upsert_demand(&mut tx, &id, boot, counts).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Sets what the operator wants.
    pub async fn set_drain(&self, id: &OcaId, drain: bool) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE appliances SET drain = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(drain)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Notes that appliances have missed their reports, so that a restart does not take them for well.
    pub async fn set_lost(&self, ids: &[OcaId]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for id in ids {
            sqlx::query("UPDATE appliances SET lost = TRUE WHERE id = $1")
                .bind(id.to_string())
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }
}

async fn update_appliance(tx: &mut Tx, row: &ApplianceRow) -> Result<(), StoreError> {
    let report = row.report.as_ref();
    sqlx::query(
        "UPDATE appliances SET base_url = $2, capacity = $3, lost = $4, boot = $5, seq = $6, last_report = $7,
             status = $8, inventory_generation = $9, resync = $10
         WHERE id = $1",
    )
    .bind(row.id.to_string())
    .bind(row.base_url.clone())
    .bind(codec::json(&row.capacity))
    .bind(row.lost)
    .bind(report.map(|r| r.boot.clone()))
    .bind(report.map(|r| codec::to_db(r.seq)))
    .bind(report.map(|r| r.at.as_millisecond()))
    .bind(report.map(|r| codec::json(&r.status)))
    .bind(report.and_then(|r| r.inventory).map(codec::to_db))
    .bind(report.is_some_and(|r| r.resync))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn end_boot(tx: &mut Tx, id: &str, boot: &str, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO former_boots (appliance, boot, ended) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(id.to_owned())
    .bind(boot.to_owned())
    .bind(now.as_millisecond())
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "DELETE FROM former_boots WHERE appliance = $1 AND ended <
             (SELECT ended FROM former_boots WHERE appliance = $1 ORDER BY ended DESC LIMIT 1 OFFSET $2)",
    )
    .bind(id.to_owned())
    .bind(FORMER_BOOTS)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Counts are absolute for the boot: the larger one is the later one, in whatever order reports come.
async fn upsert_demand(tx: &mut Tx, id: &str, boot: &str, counts: &[DemandCount]) -> Result<(), StoreError> {
    let mut insert =
        QueryBuilder::new("INSERT INTO demand (appliance, boot, hour, object, requests, bytes) ");
    insert.push_values(counts, |mut row, count| {
        row.push_bind(id.to_owned())
            .push_bind(boot.to_owned())
            .push_bind(count.hour.0)
            .push_bind(codec::blob(&count.object))
            .push_bind(codec::to_db(count.requests))
            .push_bind(codec::to_db(count.bytes.0));
    });
    insert.push(
        " ON CONFLICT (appliance, boot, hour, object) DO UPDATE SET
             requests = CASE WHEN excluded.requests > demand.requests THEN excluded.requests
                             ELSE demand.requests END,
             bytes = CASE WHEN excluded.bytes > demand.bytes THEN excluded.bytes ELSE demand.bytes END
         WHERE excluded.requests > demand.requests OR excluded.bytes > demand.bytes",
    );
    insert.build().execute(&mut **tx).await?;
    Ok(())
}

fn appliance(row: ApplianceColumns) -> Result<ApplianceRow, StoreError> {
    let (id, site, base_url, profile, capacity, drain, lost, boot, seq, at, status, inventory, resync) = row;
    let report = match (boot, seq, at, status) {
        (Some(boot), Some(seq), Some(at), Some(status)) => Some(ReportRow {
            boot,
            seq: codec::from_db(seq),
            at: codec::time("appliances.last_report", at)?,
            status: codec::from_json("appliances.status", &status)?,
            inventory: inventory.map(codec::from_db),
            resync,
        }),
        _ => None,
    };
    Ok(ApplianceRow {
        id: codec::parsed("appliances.id", &id)?,
        site: codec::parsed("appliances.site", &site)?,
        base_url,
        profile,
        capacity: codec::from_json("appliances.capacity", &capacity)?,
        drain,
        lost,
        report,
    })
}
