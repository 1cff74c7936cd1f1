//! The history on a real Ballista cluster: a scheduler and two executors on loopback answer what DataFusion in the process answers.
//! Built with the feature `ballista` only: `tools/test --ballista`.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use ballista_core::serde::{BallistaCodec, protobuf::scheduler_grpc_client::SchedulerGrpcClient};
use ballista_executor::new_standalone_executor;
use ballista_scheduler::standalone::new_standalone_scheduler;
use cdn_types::{Bytes, Hour, ObjectDigest, RegionId, api::v1::DemandRow, time::Date};
use fill_planner::history::{HistoryStore, engine::Engine};

/// A scheduler with two executors; its address.
async fn cluster() -> String {
    let address = new_standalone_scheduler().await.unwrap();
    let url = format!("http://localhost:{}", address.port());
    for _ in 0..2 {
        let scheduler = SchedulerGrpcClient::connect(url.clone()).await.unwrap(); // it listens already
        new_standalone_executor(scheduler, 2, BallistaCodec::default())
            .await
            .unwrap();
    }
    format!("df://localhost:{}", address.port())
}

/// Five weeks of three regions, with gaps, ties and objects that one region alone draws.
fn rows() -> Vec<DemandRow> {
    let first = Hour::start_of("2026-10-20".parse::<Date>().unwrap()).0;
    let mut rows = Vec::new();
    for day in 0..35_i64 {
        for (r, region) in ["north", "south", "west"].iter().enumerate() {
            for object in 0..40_i64 {
                let drawn = (object * 7 + day * 3 + r as i64 * 11) % 17;
                if drawn > 4 && (object < 35 || r == 1) {
                    rows.push(DemandRow {
                        hour: Hour(first + 24 * day + drawn),
                        region: RegionId::new(*region).unwrap(),
                        object: ObjectDigest::of(&object.to_le_bytes()),
                        requests: drawn as u64,
                        bytes: Bytes(drawn as u64 * 1_000_003),
                    });
                }
            }
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_gives_identical_features() {
    let dir = tempfile::tempdir().unwrap();
    let local = HistoryStore::new(dir.path());
    local.add(&rows()).unwrap();
    let cluster = local.clone().on(Engine::Ballista(cluster().await));
    let planned: Date = "2026-11-24".parse().unwrap();
    let table = |batches: Vec<arrow::array::RecordBatch>| {
        let schema = batches[0].schema();
        let whole = arrow::compute::concat_batches(&schema, &batches).unwrap();
        let columns = whole.columns().iter().map(|c| c.to_data()).collect::<Vec<_>>();
        (
            schema
                .fields()
                .iter()
                .map(|f| f.name().clone())
                .collect::<Vec<_>>(),
            whole.num_rows(),
            columns,
        )
    };
    let (here, there) = (
        local.features(planned).await.unwrap(),
        cluster.features(planned).await.unwrap(),
    );
    let (here, there) = (table(here), table(there));
    assert_eq!(here.1, 120, "every object in every region");
    assert_eq!(here, there);
    assert_eq!(
        local.before(planned).await.unwrap(),
        cluster.before(planned).await.unwrap()
    );
    assert_eq!(
        local.rows(planned).await.unwrap(),
        cluster.rows(planned).await.unwrap()
    );
}

#[tokio::test]
async fn a_scheduler_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = HistoryStore::new(dir.path());
    store.add(&rows()).unwrap();
    let nowhere = store.on(Engine::Ballista("df://127.0.0.1:9".into()));
    let error = nowhere
        .features("2026-11-24".parse().unwrap())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("df://127.0.0.1:9"), "{error}");
}
