//! The cases: what is asked for, what is measured, what is to be reached.

use crate::{
    files::{self, Files},
    load::{BUSY, DISTURBED, Load, Outcome},
    machine::Machine,
    nginx::Nginx,
    process::{Tree, machine_cpu_seconds, pause},
    result::{CaseResult, Spread, Target, short},
    server::{Kind, Namespace, Server, Site},
    steer,
};
use std::{path::Path, time::Duration};
use tempfile::TempDir;

/// Connections and depth of cold reads.
const COLD_DEPTH: usize = 64;
/// Idle TLS connections.
const IDLE: usize = 10_000;
/// Slow readers, and what each takes in bits a second.
const SLOW: usize = 1000;
const SLOW_RATE: u64 = 1_600_000;
/// How often their server's memory is looked at, and how many times `--seconds` that goes on.
const SAMPLE: Duration = Duration::from_secs(5);
const SLOW_TIMES: u64 = 12;
/// Many connections and few.
const MANY: usize = 5000;
const FEW: usize = 10;
/// Hot requests beside cold ones: so few that they queue for nothing but the disk.
const HOT: &str = "-c 8 --range 65536 --rate 16000000";
/// Memory may grow by a tenth after the first third of the time and still count as flat.
const FLAT: f64 = 1.1;

/// One case.
pub(crate) struct Case {
    /// Name on the command line.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    target: Target,
    run: fn(&Bench, &Case) -> anyhow::Result<CaseResult>,
}

/// Every case.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "h1-4m",
        title: "HTTP/1.1 plain, 4 MiB hot",
        target: Target::at_most(1.0),
        run: h1,
    },
    Case {
        name: "h1-64k",
        title: "HTTP/1.1 plain, 64 KiB ranges hot",
        target: Target::at_least(1.3),
        run: h1_ranges,
    },
    Case {
        name: "tls-4m",
        title: "HTTP/1.1 over TLS 1.3, 4 MiB hot",
        target: Target::at_most(0.45).wanting(0.38),
        run: tls,
    },
    Case {
        name: "h2-4m",
        title: "HTTP/2 over TLS 1.3, 4 MiB hot",
        target: Target::at_most(0.52).wanting(0.4),
        run: h2,
    },
    Case {
        name: "h3-4m",
        title: "HTTP/3 at MTU 1500, 4 MiB hot",
        target: Target::at_most(0.85).wanting(0.7),
        run: h3,
    },
    Case {
        name: "cold-1m",
        title: "1 MiB ranges from disk, 64 connections",
        target: Target::at_least(0.9),
        run: cold,
    },
    Case {
        name: "ttfb-cold",
        title: "p99 first byte of hot requests while cold ones saturate the disk, nginx with sendfile",
        target: Target::at_most(0.25),
        run: |bench, case| first_byte(bench, case, Kind::Nginx),
    },
    Case {
        name: "ttfb-cold-aio",
        title: "p99 first byte of hot requests while cold ones saturate the disk, nginx with aio threads",
        target: Target::at_most(0.7),
        run: |bench, case| first_byte(bench, case, Kind::NginxThreads),
    },
    Case {
        name: "mem-idle-tls",
        title: "resident memory with 10,000 idle TLS connections",
        target: Target::at_most(0.5),
        run: idle,
    },
    Case {
        name: "mem-slow",
        title: "growth of resident memory with 1,000 readers at 200 kB/s on 64 MiB objects over TLS",
        target: Target::at_most(128.0),
        run: slow,
    },
    Case {
        name: "conns-5000",
        title: "HTTP/1.1 plain, 4 MiB hot: 5,000 connections against 10",
        target: Target::at_most(1.3),
        run: connections,
    },
    Case {
        name: "steer",
        title: "/v1/steer in a fleet of 1,000 appliances, nginx returning as many bytes",
        target: Target::at_least(0.6),
        run: steer::steer,
    },
];

/// Everything that cases share.
pub(crate) struct Bench {
    /// What they run on.
    pub machine: Machine,
    seconds: u64,
    rounds: usize,
    files: Files,
    nginx: Nginx,
    work: TempDir,
}

impl Bench {
    /// Gets the peer, and makes the files that are always needed.
    pub(crate) fn new(seconds: u64, rounds: usize, nginx: Option<&Path>) -> anyhow::Result<Self> {
        let nginx = match nginx {
            Some(program) => Nginx::of(program)?,
            None => Nginx::unpacked()?,
        };
        Ok(Self {
            machine: Machine::read(nginx.version.clone()),
            seconds,
            rounds,
            files: Files::prepare()?,
            nginx,
            work: tempfile::tempdir()?,
        })
    }

    /// Runs one case.
    pub(crate) fn run(&self, case: &Case) -> anyhow::Result<CaseResult> {
        eprintln!("{}: {} …", case.name, case.title);
        let mut result = (case.run)(self, case)?;
        result.seconds = self.seconds;
        result.machine = self.machine.clone();
        Ok(result)
    }

    pub(crate) fn site<'a>(&'a self, namespace: Option<&'a Namespace>) -> Site<'a> {
        Site {
            files: &self.files,
            nginx: &self.nginx,
            work: self.work.path(),
            quic: namespace.is_some(),
            namespace: namespace.map(Namespace::name),
        }
    }

    /// Measures ours and nginx in turn: what `measure` says of each run's CPU seconds and outcome.
    fn in_turn(
        &self,
        case: &Case,
        unit: &str,
        load: &Hot,
        measure: impl Fn(f64, &Outcome) -> f64,
    ) -> anyhow::Result<CaseResult> {
        let namespace = load.quic.then(Namespace::new).transpose()?;
        let site = self.site(namespace.as_ref());
        let servers = [
            Server::start(Kind::Ours, &site)?,
            Server::start(Kind::Nginx, &site)?,
        ];
        let contestants = servers.each_ref().map(|server| Contestant {
            name: server.kind.name(),
            tree: server.tree(),
            load: Load::new(server, load.tls, &["4m.mp4"], load.more)
                .inside(namespace.as_ref().map(Namespace::name)),
        });
        let turns = self.turns(&contestants, measure)?;
        let speeds = turns.outcomes.each_ref().map(|all| {
            let speeds = all.iter().map(|o| o.megabytes_a_second() / 1000.0);
            speeds.collect::<Vec<_>>()
        });
        Ok(turns
            .judge(case, unit, &contestants)
            .with("oca-server, GB/s", &speeds[0])
            .with("nginx, GB/s", &speeds[1]))
    }

    /// Lets both run, one after the other, round by round.
    pub(crate) fn turns(
        &self,
        contestants: &[Contestant; 2],
        measure: impl Fn(f64, &Outcome) -> f64,
    ) -> anyhow::Result<Turns> {
        for contestant in contestants {
            contestant.load.run(1)?;
        }
        let mut turns = Turns::default();
        for _ in 0..self.rounds {
            for (which, contestant) in contestants.iter().enumerate() {
                let (before, all_before) = (contestant.tree.cpu_seconds()?, machine_cpu_seconds()?);
                let outcome = contestant.load.run(self.seconds)?;
                let used = contestant.tree.cpu_seconds()? - before;
                let all = machine_cpu_seconds()? - all_before;
                let rest = all - used - outcome.client_cpu_seconds();
                turns.others = turns.others.max(rest / self.seconds as f64);
                turns.client = turns.client.max(outcome.client_share());
                turns.figures[which].push(measure(used, &outcome));
                turns.outcomes[which].push(outcome);
            }
        }
        Ok(turns)
    }

    /// Folder for files of a case.
    pub(crate) fn work(&self) -> &Path {
        self.work.path()
    }

    /// Seconds a measurement.
    pub(crate) fn seconds(&self) -> u64 {
        self.seconds
    }
}

/// A server and what is asked of it.
pub(crate) struct Contestant {
    /// Name in results.
    pub name: &'static str,
    /// Its processes.
    pub tree: Tree,
    /// What is asked.
    pub load: Load,
}

/// What came of two contestants' turns.
#[derive(Default)]
pub(crate) struct Turns {
    figures: [Vec<f64>; 2],
    /// Each run's.
    pub outcomes: [Vec<Outcome>; 2],
    /// Largest share of its core that the client used.
    client: f64,
    /// Most cores that neither it nor a contestant used.
    others: f64,
}

impl Turns {
    /// The first against the second.
    pub(crate) fn judge(&self, case: &Case, unit: &str, contestants: &[Contestant; 2]) -> CaseResult {
        let [ours, theirs] = &self.figures;
        let mut result = CaseResult::new(case.name, case.title, unit, &ratios(ours, theirs), case.target)
            .with(contestants[0].name, ours)
            .with(contestants[1].name, theirs);
        if self.client > BUSY {
            let percent = self.client * 100.0;
            result = result.note(format!(
                "the client used {percent:.0} % of its core: throughput is its limit, CPU figures stand"
            ));
        }
        if self.others > DISTURBED {
            result = result.note(format!(
                "others used up to {:.0} % of a core meanwhile: run it again on a quiet machine",
                self.others * 100.0
            ));
        }
        result
    }
}

/// A load on the hot object.
struct Hot {
    tls: bool,
    quic: bool,
    more: &'static str,
}

fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(a, b)| a / b).collect()
}

fn cpu_a_gigabyte(used: f64, outcome: &Outcome) -> f64 {
    used / outcome.gigabytes()
}

fn h1(bench: &Bench, case: &Case) -> anyhow::Result<CaseResult> {
    let load = Hot {
        tls: false,
        quic: false,
        more: "-c 8",
    };
    bench.in_turn(case, "CPU s/GB", &load, cpu_a_gigabyte)
}

fn h1_ranges(bench: &Bench, case: &Case) -> anyhow::Result<CaseResult> {
    let load = Hot {
        tls: false,
        quic: false,
        more: "-c 8 --range 65536",
    };
    bench.in_turn(case, "requests/CPU s", &load, |used, o| o.requests() / used)
}

fn tls(bench: &Bench, case: &Case) -> anyhow::Result<CaseResult> {
    let load = Hot {
        tls: true,
        quic: false,
        more: "-c 32",
    };
    bench.in_turn(case, "CPU s/GB", &load, cpu_a_gigabyte)
}

fn h2(bench: &Bench, case: &Case) -> anyhow::Result<CaseResult> {
    let load = Hot {
        tls: true,
        quic: false,
        more: "--http 2 -c 32 -m 2",
    };
    bench.in_turn(case, "CPU s/GB", &load, cpu_a_gigabyte)
}

fn h3(bench: &Bench, case: &Case) -> anyhow::Result<CaseResult> {
    let load = Hot {
        tls: true,
        quic: true,
        more: "--http 3 -c 32 -m 2",
    };
    bench.in_turn(case, "CPU s/GB", &load, cpu_a_gigabyte)
}

const COLD_PATHS: [&str; 8] = [
    "cold-0.mp4",
    "cold-1.mp4",
    "cold-2.mp4",
    "cold-3.mp4",
    "cold-4.mp4",
    "cold-5.mp4",
    "cold-6.mp4",
    "cold-7.mp4",
];

/// Every part once, so that the page cache cannot answer.
fn cold_load(server: &Server) -> Load {
    let more = format!("-c {COLD_DEPTH} --range 1048576 --sweep");
    Load::new(server, false, &COLD_PATHS, &more)
}

fn cold(bench: &Bench, case: &Case) -> anyhow::Result<CaseResult> {
    let files = bench.files.cold()?;
    let mut disk = vec![];
    let kinds = [Kind::Ours, Kind::Nginx, Kind::NginxThreads];
    let mut speeds = kinds.map(|_| vec![]);
    for round in 0..bench.rounds {
        // A rented drive is fast after a rest and slow after work: each comes first, and each after each other, in its turn.
        for turn in 0..=kinds.len() {
            let which = (round + turn) % (kinds.len() + 1);
            let Some(kind) = kinds.get(which) else {
                files::drop_page_cache()?;
                disk.push(files::fio(&files, COLD_DEPTH, bench.seconds)?);
                continue;
            };
            let server = Server::start(*kind, &bench.site(None))?;
            files::drop_page_cache()?;
            speeds[which].push(cold_load(&server).run(bench.seconds)?.megabytes_a_second());
        }
    }
    let judged = ratios(&speeds[0], &disk);
    let mut result = CaseResult::new(case.name, case.title, "MB/s", &judged, case.target)
        .judged_as("ours / fio")
        .with("fio", &disk);
    for (kind, speeds) in kinds.into_iter().zip(&speeds) {
        result = result.with(kind.name(), speeds);
    }
    Ok(result)
}

fn first_byte(bench: &Bench, case: &Case, peer: Kind) -> anyhow::Result<CaseResult> {
    bench.files.cold()?;
    let mut times = [vec![], vec![]];
    for _ in 0..bench.rounds {
        for (which, kind) in [Kind::Ours, peer].into_iter().enumerate() {
            let server = Server::start(kind, &bench.site(None))?;
            files::drop_page_cache()?;
            let hot = Load::new(&server, false, &["4m.mp4"], HOT);
            hot.run(1)?;
            // The cold load goes on for longer at both ends.
            let cold = cold_load(&server).start(bench.seconds + 2)?;
            pause(Duration::from_secs(1));
            times[which].push(hot.run(bench.seconds)?.first_byte_p99());
            cold.end()?;
        }
    }
    let [ours, theirs] = times;
    Ok(
        CaseResult::new(case.name, case.title, "ms", &ratios(&ours, &theirs), case.target)
            .with(Kind::Ours.name(), &ours)
            .with(peer.name(), &theirs),
    )
}

fn idle(bench: &Bench, case: &Case) -> anyhow::Result<CaseResult> {
    let mut memory = [vec![], vec![]];
    for _ in 0..bench.rounds {
        for (which, kind) in [Kind::Ours, Kind::Nginx].into_iter().enumerate() {
            let server = Server::start(kind, &bench.site(None))?;
            let load = Load::new(&server, true, &["4m.mp4"], &format!("--idle -c {IDLE}"));
            let mut running = load.start(2)?;
            running.said()?;
            memory[which].push(server.tree().resident_mib()?);
            running.end()?;
        }
    }
    let [ours, theirs] = memory;
    Ok(
        CaseResult::new(case.name, case.title, "MiB", &ratios(&ours, &theirs), case.target)
            .with(Kind::Ours.name(), &ours)
            .with(Kind::Nginx.name(), &theirs),
    )
}

fn slow(bench: &Bench, case: &Case) -> anyhow::Result<CaseResult> {
    let seconds = bench.seconds * SLOW_TIMES;
    let mut growth = vec![];
    let mut result = None;
    for kind in [Kind::Ours, Kind::Nginx] {
        let server = Server::start(kind, &bench.site(None))?;
        Load::new(&server, true, &["64m.mp4"], "-c 8").run(1)?;
        let before = server.tree().resident_mib()?;
        let load = Load::new(
            &server,
            true,
            &["64m.mp4"],
            &format!("-c {SLOW} --rate {SLOW_RATE}"),
        );
        let running = load.start(seconds)?;
        let mut samples = vec![];
        for _ in 0..(seconds / SAMPLE.as_secs()).max(1) {
            pause(SAMPLE);
            samples.push(server.tree().resident_mib()? - before);
        }
        running.end()?;
        growth.push((kind, samples));
    }
    for (kind, samples) in &growth {
        let largest = Spread::of(samples).max;
        let so_far = result.take().unwrap_or_else(|| {
            CaseResult::new(
                case.name,
                case.title,
                "MiB above the start, one sample every 5 s",
                &[largest],
                case.target,
            )
            .judged_as("MiB grown")
            .note(flatness(samples))
        });
        result = Some(so_far.with(kind.name(), samples));
    }
    Ok(result.expect("two servers were measured"))
}

fn flatness(samples: &[f64]) -> String {
    let settled = samples.get(samples.len() / 3).copied().unwrap_or(0.0);
    let last = samples.last().copied().unwrap_or(0.0);
    let verdict = if last <= settled.max(1.0) * FLAT {
        "flat"
    } else {
        "NOT flat"
    };
    format!(
        "{verdict}: {} MiB after a third of the time, {} MiB at the end",
        short(settled),
        short(last)
    )
}

fn connections(bench: &Bench, case: &Case) -> anyhow::Result<CaseResult> {
    let servers = [Kind::Ours, Kind::Nginx].map(|kind| Server::start(kind, &bench.site(None)));
    let mut costs = [[vec![], vec![]], [vec![], vec![]]];
    let servers = servers.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    for _ in 0..bench.rounds {
        for (which, server) in servers.iter().enumerate() {
            for (step, connections) in [FEW, MANY].into_iter().enumerate() {
                let load = Load::new(server, false, &["4m.mp4"], &format!("-c {connections}"));
                let before = server.tree().cpu_seconds()?;
                let outcome = load.run(bench.seconds)?;
                let used = server.tree().cpu_seconds()? - before;
                costs[which][step].push(cpu_a_gigabyte(used, &outcome));
            }
        }
    }
    let [[few, many], [their_few, their_many]] = costs;
    let theirs = Spread::of(&ratios(&their_many, &their_few));
    Ok(CaseResult::new(
        case.name,
        case.title,
        "CPU s/GB",
        &ratios(&many, &few),
        case.target,
    )
    .judged_as("ours at 5,000 / at 10")
    .with("oca-server at 10", &few)
    .with("oca-server at 5,000", &many)
    .with("nginx at 10", &their_few)
    .with("nginx at 5,000", &their_many)
    .note(format!(
        "nginx at 5,000 / at 10: {} ({} to {})",
        short(theirs.mean),
        short(theirs.min),
        short(theirs.max)
    )))
}
