//! `nightfill steer`: what steering's decision log tells.
//!
//! `replay` ranks every decision again under a given policy and fleet, and says who would have had which load and what would
//! have moved. `report` compares the arms of experiments. Both ask nobody: all they read are files.

use crate::table::Table;
use anyhow::Context;
use cdn_types::{
    BitsPerSecond, Bytes, OcaId, SiteId,
    api::v1::{FleetSnapshot, routes::RouteChanges},
};
use serde::de::DeserializeOwned;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};
use steering_core::Policy;
use steering_service::{
    decisions::reader::{Line, LogReader},
    experiments::outcome::{AccessLine, ExperimentReport, Interval, Outcomes},
    policy,
    replay::{ApplianceLoad, Assumptions, Replay, Report, Without, World},
};

/// What to do with a decision log.
#[derive(Debug, clap::Subcommand)]
pub enum SteerCommand {
    /// Ranks every logged decision again: what would another policy, or a fleet without a site, have changed?
    Replay(ReplayArgs),
    /// Compares the arms of experiments: throughput, failovers and rebuffering, with 95 % intervals.
    Report(ReportArgs),
}

/// Arguments of `steer report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Decision log: a file of `steering-service serve --decision-log`, or its folder.
    #[arg(long, value_name = "FILE|DIR")]
    log: PathBuf,
    /// Access log of an appliance, for rebuffering; may be repeated. Its CMCD session ids must be the sessions' numbers.
    #[arg(long, value_name = "FILE")]
    cmcd: Vec<PathBuf>,
    /// Name of the arm that others are compared with; the first by name if absent.
    #[arg(long, value_name = "ARM")]
    control: Option<String>,
    /// Seed of the bootstrap.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `steer replay`.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// Decision log: a file of `steering-service serve --decision-log`, or its folder.
    #[arg(long, value_name = "FILE|DIR")]
    log: PathBuf,
    /// Fleet snapshot, as `GET /v1/fleet` of the control plane gives it.
    #[arg(long, value_name = "FILE")]
    fleet: PathBuf,
    /// Policy; as shipped if absent.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Routes, as `GET /v1/routes?since=0` of the control plane gives them; the sites' own networks alone if absent.
    #[arg(long, value_name = "FILE")]
    routes: Option<PathBuf>,
    /// A site whose appliances are taken away; may be repeated.
    #[arg(long, value_name = "SITE")]
    without_site: Vec<SiteId>,
    /// An appliance that is taken away; may be repeated.
    #[arg(long, value_name = "ID")]
    without_appliance: Vec<OcaId>,
    /// More or fewer viewers, as +30% or -10%.
    #[arg(long, value_name = "PERCENT", default_value = "+0%", value_parser = viewers, allow_hyphen_values = true)]
    viewers: f64,
    /// Seconds without a decision after which a session has ended; longer than the TTL of its steering lists.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    idle_seconds: u32,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

/// `+30%` → 1.3.
fn viewers(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no change of viewers: give -100% to +1000%, as +30%");
    let percent = text.strip_suffix('%').ok_or_else(wrong)?;
    let percent: f64 = percent.parse().map_err(|_| wrong())?;
    let fits = (-100.0..=1000.0).contains(&percent);
    fits.then_some(1.0 + percent / 100.0).ok_or_else(wrong)
}

/// Runs a command.
pub fn run(command: &SteerCommand) -> anyhow::Result<()> {
    match command {
        SteerCommand::Replay(args) => {
            let report = replay(args)?;
            if args.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", draw(&report));
            }
        }
        SteerCommand::Report(args) => {
            let report = compare(args)?;
            if args.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", draw_arms(&report));
            }
        }
    }
    Ok(())
}

/// `steer replay`.
fn replay(args: &ReplayArgs) -> anyhow::Result<Report> {
    let snapshot: FleetSnapshot = read_json("--fleet", &args.fleet, "GET /v1/fleet")?;
    let routes: Option<RouteChanges> = match &args.routes {
        Some(path) => Some(read_json("--routes", path, "GET /v1/routes?since=0")?),
        None => None,
    };
    let policy = match &args.policy {
        Some(path) => policy::read(path).context("--policy")?,
        None => Policy::default(),
    };
    let without = Without {
        sites: args.without_site.clone(),
        appliances: args.without_appliance.clone(),
    };
    let world = World::new(snapshot, routes.as_ref(), policy, &without, args.viewers)?;
    for name in world.index.unknown_in_policy() {
        eprintln!("warning: the policy has a rule about `{name}`, which this fleet does not have");
    }
    let assumed = Assumptions {
        viewers: args.viewers,
        idle_ms: i64::from(args.idle_seconds) * 1000,
        ..Assumptions::default()
    };
    let mut replay = Replay::new(world, assumed);
    let mut log = LogReader::open(&args.log).context("--log")?;
    for line in log.by_ref() {
        match line.context("--log")? {
            Line::Decision(decision) => replay.take(&decision),
            Line::Told(told) => replay.told(&told),
        }
    }
    let mut report = replay.finish();
    report.cuts = log.cuts().to_vec();
    Ok(report)
}

/// `steer report`.
fn compare(args: &ReportArgs) -> anyhow::Result<ExperimentReport> {
    let mut outcomes = Outcomes::default();
    let mut log = LogReader::open(&args.log).context("--log")?;
    for line in log.by_ref() {
        if let Line::Decision(decision) = line.context("--log")? {
            outcomes.decision(&decision);
        }
    }
    for path in &args.cmcd {
        AccessLine::read(path, |line| outcomes.access(line)).context("--cmcd")?;
    }
    let mut report = outcomes.report(args.control.as_deref(), args.seed);
    if let Some(name) = &args.control {
        let arms = || report.arms.iter().map(|a| a.arm.as_str());
        anyhow::ensure!(
            arms().any(|arm| arm == name),
            "--control {name}: no session of the log is in such an arm; it has {}",
            if report.arms.is_empty() {
                "no experiment".to_owned()
            } else {
                arms().collect::<Vec<_>>().join(", ")
            }
        );
    }
    report.cuts = log.cuts().to_vec();
    Ok(report)
}

fn draw_arms(r: &ExperimentReport) -> String {
    let mut out = format!(
        "{} sessions, {} in two arms of an experiment and left out\n",
        r.sessions, r.crossed
    );
    if r.joined_requests + r.unjoined_requests > 0 {
        let _ = writeln!(
            out,
            "{} requests of these sessions in access logs, {} of others",
            r.joined_requests, r.unjoined_requests
        );
    }
    for cut in &r.cuts {
        let _ = writeln!(out, "note: {cut}");
    }
    if r.arms.is_empty() {
        return out + "no session is in an experiment\n";
    }
    let mut table = Table::new([
        "experiment",
        "arm",
        "measure",
        ">sessions",
        ">value",
        ">95 %",
        ">to control",
        ">95 %",
    ]);
    for arm in &r.arms {
        for measure in &arm.measures {
            let value = |v: f64| match measure.name {
                "throughput" => format!("{:.3} Mbit/s", v / 1e6),
                _ => format!("{:.2} %", v * 100.0),
            };
            let [own, own_range] = interval(measure.arm, value);
            let [difference, range] = interval(measure.difference, value);
            let name = format!("{}{}", arm.arm, if arm.control { " (control)" } else { "" });
            let sessions = measure.sessions.to_string();
            let measure = measure.name.to_owned();
            table.row([
                arm.experiment.clone(),
                name,
                measure,
                sessions,
                own,
                own_range,
                difference,
                range,
            ]);
        }
    }
    format!("{out}\n{table}")
}

/// A value and its range, as text.
fn interval(interval: Option<Interval>, text: impl Fn(f64) -> String) -> [String; 2] {
    interval.map_or_else(
        || ["-".to_owned(), "-".to_owned()],
        |i| [text(i.value), format!("{} to {}", text(i.low), text(i.high))],
    )
}

fn read_json<T: DeserializeOwned>(option: &str, path: &Path, source: &str) -> anyhow::Result<T> {
    let shown = path.display();
    let text = std::fs::read(path).with_context(|| format!("{option} {shown}"))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{option} {shown}: not what {source} gives; take it as it stands"))
}

fn draw(r: &Report) -> String {
    let mut out = String::new();
    let time =
        |at: Option<cdn_types::time::Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let lines = [
        format!(
            "{} decisions of {} sessions, {} to {}",
            r.decisions,
            r.sessions,
            time(r.from),
            time(r.to)
        ),
        format!("{} decisions changed their first entry", r.changed_first),
        format!(
            "{} sessions move for a time at least, with {} of {}",
            r.moved_sessions,
            Bytes(r.moved_bytes),
            Bytes(r.bytes)
        ),
    ];
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    let notes = [
        (
            r.other_generation,
            "were made with another generation of the fleet: loads and states were others",
        ),
        (r.other_policy, "were made under another version of the policy"),
        (r.unknown_titles, "are about titles that this fleet does not have"),
        (
            r.untold,
            "were logged without throughput and circuits: what these had changed counts as moved",
        ),
        (
            r.dns_answers,
            "are DNS answers, of whose viewers nobody knows how many they are: no sessions, no bytes",
        ),
    ];
    for (count, what) in notes.iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(out, "note: {count} decisions {what}");
    }
    for cut in &r.cuts {
        let _ = writeln!(out, "note: {cut}");
    }
    let _ = write!(out, "\n{}", loads(&r.appliances));
    let over: Vec<_> = r
        .appliances
        .iter()
        .filter(|a| a.overloaded)
        .map(|a| a.id.as_str())
        .collect();
    let over = if over.is_empty() {
        "nobody".to_owned()
    } else {
        over.join(", ")
    };
    let _ = writeln!(out, "\noverloaded: {over}");
    if !r.moves.is_empty() {
        let mut moves = Table::new(["from", "to", ">sessions", ">bytes", ">DNS answers"]);
        for m in &r.moves {
            moves.row([
                m.from.clone(),
                m.to.clone(),
                m.sessions.to_string(),
                Bytes(m.bytes).to_string(),
                m.dns_answers.to_string(),
            ]);
        }
        let _ = write!(out, "\n{moves}");
    }
    out
}

fn loads(appliances: &[ApplianceLoad]) -> Table {
    let head = [
        "appliance",
        "site",
        ">sessions",
        ">then",
        ">bit rate",
        ">then",
        ">capacity",
        ">load",
        ">DNS answers",
        ">then",
    ];
    let mut table = Table::new(head);
    let rate = |bps: u64| BitsPerSecond(bps).to_string();
    for a in appliances {
        table.row([
            a.id.clone(),
            a.site.clone().unwrap_or_else(|| "-".to_owned()),
            a.before.sessions.to_string(),
            a.after.sessions.to_string(),
            rate(a.before.bits_per_second),
            rate(a.after.bits_per_second),
            a.capacity.map_or_else(|| "-".to_owned(), rate),
            a.load_permille
                .map_or_else(|| "-".to_owned(), |p| format!("{:.1} %", p as f64 / 10.0)),
            a.before.dns_answers.to_string(),
            a.after.dns_answers.to_string(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::viewers;

    #[test]
    fn changes_of_viewers_are_percents() {
        assert_eq!(viewers("+30%"), Ok(1.3));
        assert_eq!(viewers("-10%"), Ok(0.9));
        for bad in ["30", "+x%", "-101%", "+1001%", "NaN%", "%"] {
            assert!(viewers(bad).is_err(), "{bad}");
        }
    }
}
