//! Demand: what appliances counted, what was imported, and what steering decided.
//!
//! Appliances' counts are absolute for their boot, so each is kept by (appliance, boot, hour, object) and only grows;
//! sums are made when asked for. Imported rows are kept by (hour, region, object): importing a file twice changes
//! nothing.

use super::{BATCH, QueryBuilder, Store, StoreError, codec};
use cdn_types::{
    Bytes, Hour, ObjectDigest,
    api::v1::{DemandRow, SteeringOutcome, SteeringReport},
};

/// Sessions by outcome.
pub type OutcomeTotals = Vec<(SteeringOutcome, u64)>;

type DemandColumns = (i64, String, Vec<u8>, i64, i64);

impl Store {
    /// Takes in rows of history; a row of the same hour, region and object is replaced.
    pub async fn import_demand(&self, rows: &[DemandRow]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for rows in rows.chunks(BATCH) {
            let mut insert =
                QueryBuilder::new("INSERT INTO history (hour, region, object, requests, bytes) ");
            insert.push_values(rows, |mut columns, row| {
                columns
                    .push_bind(row.hour.0)
                    .push_bind(row.region.to_string())
                    .push_bind(codec::blob(&row.object))
                    .push_bind(codec::to_db(row.requests))
                    .push_bind(codec::to_db(row.bytes.0));
            });
            insert.push(
                " ON CONFLICT (hour, region, object) DO UPDATE SET requests = excluded.requests,
                     bytes = excluded.bytes",
            );
            insert.build().execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Demand by hour, region and object, `from` ≤ hour < `to`, at most `limit` rows; appliances' counts go to the
    /// region of the site that they belong to now.
    pub async fn demand(&self, from: Hour, to: Hour, limit: usize) -> Result<Vec<DemandRow>, StoreError> {
        let rows: Vec<DemandColumns> = sqlx::query_as(
            "SELECT hour, region, object, CAST(SUM(requests) AS BIGINT), CAST(SUM(bytes) AS BIGINT) FROM (
                 SELECT d.hour AS hour, s.region AS region, d.object AS object, d.requests AS requests,
                        d.bytes AS bytes
                 FROM demand d JOIN appliances a ON a.id = d.appliance JOIN sites s ON s.id = a.site
                 WHERE d.hour >= $1 AND d.hour < $2
                 UNION ALL
                 SELECT hour, region, object, requests, bytes FROM history WHERE hour >= $1 AND hour < $2
             ) AS counted
             GROUP BY hour, region, object ORDER BY hour, region, object LIMIT $3",
        )
        .bind(from.0)
        .bind(to.0)
        .bind(limit as i64)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter()
            .map(|(hour, region, object, requests, bytes)| {
                Ok(DemandRow {
                    hour: Hour(hour),
                    region: codec::parsed("region", &region)?,
                    object: codec::digest("object", &object)?,
                    requests: codec::from_db(requests),
                    bytes: Bytes(codec::from_db(bytes)),
                })
            })
            .collect()
    }

    /// Bytes that appliances sent in each hour from `from` on; hours without any are left out.
    pub async fn hourly_bytes(&self, from: Hour) -> Result<Vec<(Hour, Bytes)>, StoreError> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT hour, CAST(SUM(bytes) AS BIGINT) FROM demand WHERE hour >= $1 GROUP BY hour ORDER BY hour",
        )
        .bind(from.0)
        .fetch_all(&self.read)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(hour, bytes)| (Hour(hour), Bytes(codec::from_db(bytes))))
            .collect())
    }

    /// Bytes that appliances sent of each object from hour `from` on.
    pub async fn object_bytes(&self, from: Hour) -> Result<Vec<(ObjectDigest, Bytes)>, StoreError> {
        let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(
            "SELECT object, CAST(SUM(bytes) AS BIGINT) FROM demand WHERE hour >= $1 GROUP BY object",
        )
        .bind(from.0)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter()
            .map(|(object, bytes)| {
                Ok((
                    codec::digest("demand.object", &object)?,
                    Bytes(codec::from_db(bytes)),
                ))
            })
            .collect()
    }

    /// Takes in a steering service's counters; a smaller count of the same boot is an older one and is ignored.
    pub async fn write_steering(&self, report: &SteeringReport) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for counts in report.counts.chunks(BATCH) {
            let mut insert =
                QueryBuilder::new("INSERT INTO steering (boot, hour, site, title, outcome, sessions) ");
            insert.push_values(counts, |mut row, count| {
                row.push_bind(report.boot.clone())
                    .push_bind(count.hour.0)
                    .push_bind(count.site.as_ref().map_or(String::new(), ToString::to_string))
                    .push_bind(count.title.to_string())
                    .push_bind(codec::name(count.outcome))
                    .push_bind(codec::to_db(count.sessions));
            });
            insert.push(
                " ON CONFLICT (boot, hour, site, title, outcome) DO UPDATE SET sessions = excluded.sessions
                 WHERE excluded.sessions > steering.sessions",
            );
            insert.build().execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Sessions by outcome from hour `from` on.
    pub async fn outcomes(&self, from: Hour) -> Result<OutcomeTotals, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT outcome, CAST(SUM(sessions) AS BIGINT) FROM steering WHERE hour >= $1 GROUP BY outcome",
        )
        .bind(from.0)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter()
            .map(|(outcome, sessions)| {
                Ok((
                    codec::from_name("steering.outcome", &outcome)?,
                    codec::from_db(sessions),
                ))
            })
            .collect()
    }

    /// Forgets what was counted more than `hours` before `now`, and what was imported as long before the newest
    /// imported hour: a history may end long ago and is then still wanted.
    pub async fn prune(&self, now: Hour, hours: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for forget in [
            "DELETE FROM demand WHERE hour < $1 - $2",
            "DELETE FROM steering WHERE hour < $1 - $2",
            "DELETE FROM history WHERE hour < (SELECT MAX(hour) FROM history) - $2",
        ] {
            sqlx::query(forget)
                .bind(now.0)
                .bind(hours)
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::{
        RegionId, SiteId, TitleId,
        api::v1::{SteeringCount, SteeringOutcome},
    };

    #[tokio::test]
    async fn old_counts_are_forgotten_and_a_history_that_ended_long_ago_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("control.db")).await.unwrap();
        let row = |hour| DemandRow {
            hour: Hour(hour),
            region: RegionId::new("nl").unwrap(),
            object: ObjectDigest::of(b"x"),
            requests: 1,
            bytes: Bytes(1),
        };
        store.import_demand(&[row(0), row(100), row(109)]).await.unwrap();
        let counts = [10_000, 9_000].map(|hour| SteeringCount {
            hour: Hour(hour),
            site: Some(SiteId::new("ams").unwrap()),
            title: TitleId::new("t").unwrap(),
            outcome: SteeringOutcome::Hit,
            sessions: 1,
        });
        let report = SteeringReport {
            boot: "b".into(),
            counts: counts.to_vec(),
        };
        store.write_steering(&report).await.unwrap();
        store.prune(Hour(10_000), 10).await.unwrap();
        let kept = store.demand(Hour(0), Hour(20_000), 10).await.unwrap();
        assert_eq!(kept, [row(100), row(109)]);
        assert_eq!(
            store.outcomes(Hour(0)).await.unwrap(),
            [(SteeringOutcome::Hit, 1)]
        );
    }
}
