//! What is written reads back, and what it was made under stands before it.

use super::{
    inputs::Told,
    reader::{self, Line, LogReader},
    record::tests::decision,
    *,
};
use cdn_types::{
    FillWindow, OcaId,
    api::v1::{FillStatus, Load},
    time::Timestamp,
};
use serde_json::json;
use std::path::Path;
use steering_core::{
    circuit::{Signal, Verdict, fleet::Verdicts},
    throughput::{Measured, Throughput},
};

/// A fleet of three appliances.
fn fleet() -> Arc<FleetState> {
    let appliance = |id: &str| {
        json!({"id": id, "site": "lon", "base_url": format!("http://{id}.example"), "profile": "laptop",
            "state": "serving", "conditions": [], "capacity": {"storage": 1, "egress": 1_000_000, "fill_rate": 1},
            "load": Load::default(), "fill": FillStatus::default(), "holds": [0], "held": 1})
    };
    let window = FillWindow::new("02:00", "14:00", "UTC").unwrap();
    let snapshot = json!({"generation": 1, "taken_at": "2026-11-23T14:00:00Z", "objects": ["0".repeat(64)],
        "sites": [{"id": "lon", "region": "r", "prefixes": ["192.0.2.0/24"], "window": window}],
        "appliances": [appliance("oca-0"), appliance("oca-1"), appliance("oca-2")],
        "titles": [], "fallback": "http://origin.example"});
    let state = FleetState::new(Arc::new(Metrics::new().unwrap()));
    let text = snapshot.to_string();
    state.install(text.as_bytes(), |_| Timestamp::UNIX_EPOCH).unwrap();
    Arc::new(state)
}

fn push(log: &DecisionLog, fleet: &FleetState, n: u64) {
    log.push(decision(n), &fleet.current().unwrap().index);
}

fn open(
    dir: &Path,
    file_bytes: u64,
    files: usize,
    metrics: &Arc<Metrics>,
) -> Result<DecisionLog, DecisionLogError> {
    let config = DecisionLogConfig {
        dir: dir.join("log"),
        file_bytes,
        files,
    };
    DecisionLog::open(Some(config), None, &fleet(), Arc::clone(metrics))
}

fn read(path: &Path) -> (Vec<Decision>, Vec<String>) {
    let mut reader = LogReader::open(path).unwrap();
    let lines = reader.by_ref().map(Result::unwrap);
    let decisions = lines.filter_map(Line::decision).collect();
    (decisions, reader.cuts().to_vec())
}

#[tokio::test]
async fn decisions_read_back_in_order_and_files_turn_over_by_size() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let (log, fleet) = (open(dir.path(), 1, 3, &metrics).unwrap(), fleet());
    let mut all = Vec::new();
    for round in 0..5u64 {
        for n in 0..100 {
            all.push(decision(round * 100 + n));
            push(&log, &fleet, round * 100 + n);
        }
        log.close().await; // writes; with files of one byte each has its own
    }
    let (read, cuts) = read(&dir.path().join("log"));
    assert_eq!(
        read,
        all[300..],
        "the newest that are kept, one of three files still empty"
    );
    assert!(cuts.is_empty());
    assert_eq!(metrics.decisions.with_label_values(&["written"]).get(), 500);
    assert_eq!(std::fs::read_dir(dir.path().join("log")).unwrap().count(), 3);
}

#[tokio::test]
async fn a_cut_file_is_read_up_to_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1 << 20, 3, &Arc::new(Metrics::new().unwrap())).unwrap();
    let fleet = fleet();
    let all: Vec<_> = (0..2000).map(decision).collect();
    for part in all.chunks(500) {
        let index = &fleet.current().unwrap().index;
        part.iter().for_each(|d| log.push(d.clone(), index));
        log.close().await;
    }
    let folder = dir.path().join("log");
    let file = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = std::fs::read(&file).unwrap();
    let mut before = 0;
    for cut in (0..whole.len()).step_by(97) {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let (decisions, cuts) = read(&file);
        assert_eq!(decisions, all[..decisions.len()], "cut at {cut}");
        assert!(decisions.len() >= before && cuts.len() <= 1);
        before = decisions.len();
    }
    assert!(before > 1500, "{before}");
}

#[test]
fn a_full_queue_drops_and_counts_instead_of_waiting() {
    let metrics = Arc::new(Metrics::new().unwrap());
    let (queue, _never_read): (_, Receiver<Message>) = sync_channel(2);
    let log = DecisionLog {
        queue,
        metrics: Arc::clone(&metrics),
        writes: true,
    };
    let fleet = fleet();
    (0..5).for_each(|n| push(&log, &fleet, n));
    assert_eq!(metrics.decisions.with_label_values(&["dropped"]).get(), 3);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("log"), "a file").unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let error = open(dir.path(), 1, 1, &metrics).err().unwrap();
    assert!(error.to_string().contains("give a folder"), "{error}");
}

/// What lines tell, put together.
#[derive(Default, PartialEq, Debug)]
struct Known(Measured, Verdicts);

impl Known {
    fn take(&mut self, told: Told) {
        match told {
            Told::Throughput { whole, networks, .. } => {
                if whole {
                    self.0 = Measured::default();
                }
                networks.iter().for_each(|(net, steps)| self.0.set(*net, steps));
            }
            Told::Circuits { whole, verdicts, .. } => {
                if whole {
                    self.1 = Verdicts::default();
                }
                verdicts.iter().for_each(|(id, verdict)| self.1.set(id, *verdict));
            }
        }
    }
}

/// Throughput of some networks, as it is after `round` rounds: a step higher or forgotten each time.
fn measured(round: u64) -> Measured {
    let mut throughput = Throughput::new(1000);
    for network in 0..700u32 {
        let client = std::net::Ipv4Addr::from(10 << 24 | network << 8);
        for _ in 0..5 {
            if u64::from(network % 4) >= round {
                let id = OcaId::new(format!("oca-{}", network % 3)).unwrap();
                throughput.sample(
                    client.into(),
                    &id,
                    1_000_000 << (round + u64::from(network % 3)),
                    0.0,
                );
            }
        }
    }
    throughput.measured(0.0)
}

fn circuits(round: u64) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let by = Signal::Probes;
    if round > 0 {
        verdicts.set(
            &OcaId::new(format!("oca-{}", round % 2)).unwrap(),
            Verdict::Open { by },
        );
    }
    verdicts
}

#[tokio::test]
async fn each_file_tells_what_its_decisions_were_made_under() {
    // In files of one decision each every file begins with all; in one file only changes follow.
    for (file_bytes, files) in [(1, 6), (1 << 20, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let (log, fleet) = (
            open(dir.path(), file_bytes, 20, &Arc::new(Metrics::new().unwrap())).unwrap(),
            fleet(),
        );
        for round in 0..5 {
            fleet.set_measured(measured(round));
            fleet.set_circuits(circuits(round));
            push(&log, &fleet, round);
            log.close().await;
            if round == 3 {
                push(&log, &fleet, 100 + round);
                log.close().await;
            }
        }
        let mut seen = 0;
        let paths = reader::files(&dir.path().join("log")).unwrap();
        for path in &paths {
            let mut known = Known::default();
            for line in LogReader::open(path).unwrap() {
                match line.unwrap() {
                    Line::Told(line) => {
                        known.take(line);
                    }
                    Line::Decision(d) => {
                        let round = (0..5)
                            .find(|n| d.at == decision(*n).at || d.at == decision(100 + n).at)
                            .unwrap();
                        let wanted = Known(measured(round), circuits(round));
                        assert!(known == wanted, "files of {file_bytes}, round {round}");
                        seen += 1;
                    }
                }
            }
        }
        assert_eq!(seen, 6);
        assert_eq!(
            paths.len(),
            if files == 1 { 1 } else { 7 },
            "the last one is empty"
        );
    }
}

#[test]
fn a_decision_whose_table_is_gone_is_not_told_under_another() {
    let fleet = fleet();
    let mut teller = Teller::new(Arc::clone(&fleet));
    fleet.set_measured(measured(0));
    let inputs = || Inputs::of(&fleet.current().unwrap().index);
    let (one, two) = (inputs(), inputs());
    fleet.set_measured(measured(1));
    assert!(
        Teller::new(Arc::clone(&fleet)).tell(&decision(0), &one).is_ok(),
        "one that was just replaced is kept"
    );
    fleet.set_measured(measured(2));
    assert!(teller.tell(&decision(0), &two).is_err());
    let inputs = inputs();
    assert!(
        teller
            .tell(&decision(1), &inputs)
            .is_ok_and(|lines| lines.len() > 2)
    );
    assert!(
        teller
            .tell(&decision(2), &inputs)
            .is_ok_and(|lines| lines.is_empty())
    );
}
