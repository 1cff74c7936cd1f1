//! Questions to the history, as SQL on DataFusion. The statements are files of their own beside this one; `{planned}` and the like are
//! dates and whole numbers that were parsed as such, so nothing that anybody typed reaches a statement.

use super::{HistoryError, HistoryStore, engine::Engine, partition};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use cdn_types::{Bytes, Hour, ObjectDigest, RegionId, api::v1::DemandRow, time::Date};
use datafusion::{
    datasource::{file_format::parquet::ParquetFormat, listing::ListingOptions},
    execution::context::SessionContext,
};
use fill_core::{
    History,
    history::{MAX_DAYS, Sum},
};
use std::sync::Arc;

const SPAN: &str = include_str!("span.sql");
const ROWS: &str = include_str!("rows.sql");
const SUMS: &str = include_str!("sums.sql");
const FEATURES: &str = include_str!("features.sql");
/// Days that features look back.
const FEATURE_DAYS: i64 = 28;

impl HistoryStore {
    /// What was drawn before 00:00 universal time of `planned`, as [`History::before`] makes it of the same rows.
    ///
    /// # Errors
    /// When a file is not what [`add`](Self::add) writes.
    pub async fn before(&self, planned: Date) -> Result<History, HistoryError> {
        let oldest = back(planned, MAX_DAYS as i64 + 1);
        let fill = |text: &str| {
            text.replace("{planned}", &planned.to_string())
                .replace("{oldest}", &oldest.to_string())
        };
        let session = self.session().await?;
        let span = self.ask(&session, &fill(SPAN)).await?;
        let hour = |column: usize| {
            let batch = span.iter().find(|b| b.num_rows() > 0)?;
            let hours = batch.column(column).as_primitive_opt::<Int64Type>()?;
            (!hours.is_null(0)).then(|| Hour(hours.value(0)))
        };
        let Some((first, last)) = hour(0).zip(hour(1)) else {
            return Ok(History::before(planned, []));
        };
        let sums = fill(SUMS).replace("{end}", &(last.0 + 1).to_string());
        let mut rows = Vec::new();
        for batch in self.ask(&session, &sums).await? {
            self.each(&batch, |region, object, [age, bytes]| {
                rows.push(Sum {
                    region,
                    object,
                    day: usize::try_from(age).unwrap_or(usize::MAX),
                    bytes: count(bytes),
                });
            })?;
        }
        Ok(History::from_sums(planned, first, last, rows))
    }

    /// The rows of the days before `planned`, as many as any forecast looks back, by hour, region and object.
    ///
    /// # Errors
    /// As for [`before`](Self::before).
    pub async fn rows(&self, planned: Date) -> Result<Vec<DemandRow>, HistoryError> {
        let oldest = back(planned, 2 * MAX_DAYS as i64);
        let sql = ROWS
            .replace("{planned}", &planned.to_string())
            .replace("{oldest}", &oldest.to_string());
        let session = self.session().await?;
        let mut rows = Vec::new();
        for batch in self.ask(&session, &sql).await? {
            self.each(&batch, |region, object, [hour, requests, bytes]| {
                rows.push(DemandRow {
                    hour: Hour(hour),
                    region,
                    object,
                    requests: count(requests),
                    bytes: Bytes(count(bytes)),
                });
            })?;
        }
        Ok(rows)
    }

    /// The features of every region and object for a day to plan, sorted by both; columns as `features.sql` names them.
    ///
    /// # Errors
    /// As for [`before`](Self::before).
    pub async fn features(&self, planned: Date) -> Result<Vec<RecordBatch>, HistoryError> {
        let oldest = back(planned, FEATURE_DAYS);
        let sql = FEATURES
            .replace("{planned}", &planned.to_string())
            .replace("{oldest}", &oldest.to_string())
            .replace("{cut}", &Hour::start_of(planned).0.to_string());
        let session = self.session().await?;
        self.ask(&session, &sql).await
    }

    /// A session that knows the history as the table `demand`.
    async fn session(&self) -> Result<SessionContext, HistoryError> {
        let session = self.engine.session().await?;
        let columns = ["day", "region"].map(|name| (name.to_owned(), DataType::Utf8));
        let options = ListingOptions::new(Arc::new(ParquetFormat::default()))
            .with_file_extension("demand.parquet")
            .with_table_partition_cols(columns.to_vec());
        let dir = std::path::absolute(&self.dir).map_err(super::at(&self.dir))?;
        // Without the folder there is no history, which is no error.
        std::fs::create_dir_all(&dir).map_err(super::at(&dir))?;
        let address = format!("{}/", dir.display());
        session
            .register_listing_table("demand", address, options, Some(partition::schema()), None)
            .await
            .map_err(|e| self.wrong(e))?;
        Ok(session)
    }

    async fn ask(&self, session: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, HistoryError> {
        let frame = session.sql(sql).await.map_err(|e| self.wrong(e))?;
        frame.collect().await.map_err(|e| self.wrong(e))
    }

    fn wrong(&self, source: datafusion::error::DataFusionError) -> HistoryError {
        if let Engine::Ballista(scheduler) = &self.engine {
            let dir = self.dir.display();
            return HistoryError::Engine(format!(
                "the Ballista cluster at {scheduler} has not answered for {dir}: {source}; every executor must see that folder under this path"
            ));
        }
        HistoryError::Query {
            dir: self.dir.clone(),
            source: Box::new(source),
        }
    }

    /// Hands out each row's region and object, and the whole numbers of the other columns.
    fn each<const N: usize>(
        &self,
        batch: &RecordBatch,
        mut take: impl FnMut(RegionId, ObjectDigest, [i64; N]),
    ) -> Result<(), HistoryError> {
        let content = |what: String| HistoryError::Content {
            dir: self.dir.clone(),
            what,
        };
        let column = |index: usize, kind: DataType| {
            cast(batch.column(index), &kind).map_err(|e| content(e.to_string()))
        };
        let (regions, objects) = (
            column(0, DataType::Utf8)?,
            column(1, DataType::FixedSizeBinary(32))?,
        );
        let (regions, objects) = (regions.as_string::<i32>(), objects.as_fixed_size_binary());
        let mut numbers = Vec::with_capacity(N);
        for index in 2..2 + N {
            numbers.push(column(index, DataType::Int64)?);
        }
        for row in 0..batch.num_rows() {
            let region = RegionId::new(regions.value(row)).map_err(|e| content(e.to_string()))?;
            let digest = <[u8; 32]>::try_from(objects.value(row)).map_err(|e| content(e.to_string()))?;
            let values = std::array::from_fn(|n| numbers[n].as_primitive::<Int64Type>().value(row));
            take(region, ObjectDigest::from_bytes(digest), values);
        }
        Ok(())
    }
}

/// A count as it was added.
fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A day that many days before another.
fn back(day: Date, days: i64) -> Date {
    Hour(Hour::start_of(day).0 - 24 * days).date()
}
