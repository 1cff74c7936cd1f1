//! The running fleet as tables: sites, appliances, plans.

use crate::table::Table;
use cdn_types::{
    Bytes,
    api::v1::{ApplianceState, ApplianceView, Condition, FillState, FillStatus, Overview, PlanSummary, Site},
    plan::{AppliancePlan, Plan},
    time::Timestamp,
};
use std::fmt::Write;

/// Items of a plan that are shown an appliance unless all are asked for.
const SHOWN_ITEMS: usize = 10;

/// Columns of appliances.
const APPLIANCE_HEAD: [&str; 10] = [
    "appliance",
    "site",
    "state",
    ">plan",
    "fill",
    ">held",
    ">egress",
    ">of",
    ">conn",
    "reported",
];

/// The whole fleet: what runs where, how full, how busy, what is wrong.
pub fn status(overview: &Overview) -> String {
    let mut out = String::new();
    let _ = match &overview.plan {
        Some(p) => writeln!(
            out,
            "plan {} for {}, {} objects, {}\n",
            p.number, p.date, p.items, p.bytes
        ),
        None => writeln!(out, "no plan is active\n"),
    };
    let mut appliances = Table::new(APPLIANCE_HEAD);
    for a in &overview.appliances {
        appliances.row(appliance_row(a, overview.at));
    }
    let _ = writeln!(out, "{}", sites(&overview.sites));
    let _ = match appliances.is_empty() {
        true => writeln!(out, "no appliance has joined (nightfill join-token)"),
        false => write!(out, "{appliances}"),
    };
    for a in &overview.appliances {
        for Condition { kind, detail } in &a.conditions {
            let _ = writeln!(out, "\n{}: {kind}: {detail}", a.id);
        }
        if let Some(detail) = &a.fill.detail {
            let _ = writeln!(out, "\n{}: fill: {detail}", a.id);
        }
    }
    out
}

/// Sites only.
pub fn sites(all: &[Site]) -> String {
    let mut table = Table::new(["site", "region", "fill window", "networks"]);
    for s in all {
        table.row(site_row(s));
    }
    match table.is_empty() {
        true => "no site is known (nightfill site put)\n".to_owned(),
        false => table.to_string(),
    }
}

fn site_row(s: &Site) -> [String; 4] {
    let networks: Vec<_> = s.prefixes.iter().map(ToString::to_string).collect();
    [
        s.id.to_string(),
        s.region.to_string(),
        window(&s.window),
        networks.join(" "),
    ]
}

fn window(w: &cdn_types::FillWindow) -> String {
    // Its JSON is its only public form.
    let json = serde_json::to_value(w).unwrap_or_default();
    let text = |key: &str| json[key].as_str().unwrap_or("?").to_owned();
    match (text("start"), text("end")) {
        (start, end) if start == end => "always".to_owned(),
        (start, end) => format!("{start}-{end} {}", text("time_zone")),
    }
}

/// One appliance in full.
pub fn appliance(a: &ApplianceView, at: Timestamp) -> String {
    let mut table = Table::new(APPLIANCE_HEAD);
    table.row(appliance_row(a, at));
    table.to_string()
}

fn appliance_row(a: &ApplianceView, at: Timestamp) -> [String; 10] {
    let reported = a.last_report.map_or_else(
        || "never".to_owned(),
        |t| format!("{} s ago", at.duration_since(t).as_secs().max(0)),
    );
    [
        a.id.to_string(),
        a.site.to_string(),
        state(a.state).to_owned(),
        a.plan.map_or_else(|| "-".to_owned(), |p| p.to_string()),
        fill(&a.fill),
        a.held.to_string(),
        a.load.egress.to_string(),
        a.capacity.egress.to_string(),
        a.load.connections.to_string(),
        reported,
    ]
}

fn state(s: ApplianceState) -> &'static str {
    match s {
        ApplianceState::Joined => "joined",
        ApplianceState::Serving => "serving",
        ApplianceState::Draining => "draining",
        ApplianceState::Unhealthy => "unhealthy",
        ApplianceState::Lost => "lost",
    }
}

fn fill(f: &FillStatus) -> String {
    let percent = match f.bytes_total {
        Bytes(0) => 100,
        Bytes(total) => u128::from(f.bytes_done.0) * 100 / u128::from(total),
    };
    match f.state {
        FillState::NoPlan => "no plan".to_owned(),
        FillState::WaitingForWindow => format!("{percent} %, waits for window"),
        FillState::Filling => format!("{percent} %, {}", f.rate),
        FillState::Done => "100 %".to_owned(),
        FillState::Stopped => format!("{percent} %, stopped"),
    }
}

/// All plans, newest last.
pub fn plans(all: &[PlanSummary]) -> String {
    let mut table = Table::new([
        ">plan",
        "for",
        "active",
        ">appliances",
        ">objects",
        ">bytes",
        "published",
    ]);
    for p in all {
        table.row([
            p.number.to_string(),
            p.date.to_string(),
            if p.active { "yes" } else { "" }.to_owned(),
            p.appliances.to_string(),
            p.items.to_string(),
            p.bytes.to_string(),
            p.published.to_string(),
        ]);
    }
    if table.is_empty() {
        "no plan has been published\n".to_owned()
    } else {
        table.to_string()
    }
}

/// One plan: what each appliance shall hold, the most valuable byte first.
pub fn plan(plan: &Plan, all_items: bool) -> String {
    let mut out = format!(
        "plan {} for {}, seed {}, inputs {}\n",
        plan.number,
        plan.date,
        plan.seed,
        plan.inputs.short()
    );
    for part in &plan.appliances {
        plan_part(&mut out, part, if all_items { usize::MAX } else { SHOWN_ITEMS });
    }
    out
}

fn plan_part(out: &mut String, part: &AppliancePlan, most: usize) {
    let bytes: Bytes = part.items.iter().map(|i| i.size).sum();
    let new: Bytes = part.items.iter().filter(|i| !i.kept).map(|i| i.size).sum();
    let drops: Bytes = part.drops.iter().map(|d| d.size).sum();
    let _ = writeln!(
        out,
        "\n{} ({}, {}): {} objects, {bytes}, of which {new} to fetch at up to {}; drops {} objects, {drops}",
        part.appliance,
        part.site,
        part.region,
        part.items.len(),
        part.fill_rate,
        part.drops.len()
    );
    let mut table = Table::new([">size", ">expected", "", "from", "path"]);
    for item in part.items.iter().take(most) {
        let sources = item.from.iter().filter_map(|&i| part.sources.get(usize::from(i)));
        let names: Vec<_> = sources
            .map(|s| {
                s.appliance
                    .as_ref()
                    .map_or_else(|| "origin".to_owned(), ToString::to_string)
            })
            .collect();
        table.row([
            item.size.to_string(),
            item.expected.to_string(),
            if item.kept { "held" } else { "new" }.to_owned(),
            names.join(" "),
            item.path.clone(),
        ]);
    }
    let _ = write!(out, "{table}");
    if part.items.len() > most {
        let _ = writeln!(out, "… and {} more (--all)", part.items.len() - most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::{
        BitsPerSecond, FillWindow, OcaId, PlanNumber, RegionId, SiteId,
        api::v1::{Capacity, Load},
    };

    fn overview() -> Overview {
        let at: Timestamp = "2026-11-23T14:00:30Z".parse().unwrap();
        Overview {
            at,
            sites: vec![Site {
                id: SiteId::new("north").unwrap(),
                region: RegionId::new("coast").unwrap(),
                prefixes: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
                window: FillWindow::new("02:00", "06:00", "Europe/Oslo").unwrap(),
            }],
            appliances: vec![ApplianceView {
                conditions: vec![Condition {
                    kind: "disk_full".into(),
                    detail: "no space".into(),
                }],
                load: Load {
                    egress: BitsPerSecond(1_500_000),
                    connections: 3,
                    ..Load::default()
                },
                fill: FillStatus {
                    state: FillState::Filling,
                    bytes_done: Bytes(50),
                    bytes_total: Bytes(200),
                    rate: BitsPerSecond(9_000_000),
                    ..FillStatus::default()
                },
                plan: Some(PlanNumber(7)),
                held: 12,
                last_report: Some("2026-11-23T14:00:26Z".parse().unwrap()),
                ..ApplianceView::serving(
                    OcaId::new("north-1").unwrap(),
                    SiteId::new("north").unwrap(),
                    Capacity {
                        egress: BitsPerSecond(4_000_000_000),
                        ..Capacity::default()
                    },
                )
            }],
            plan: None,
            titles: 0,
            objects: 0,
            outcomes: vec![],
            hours: vec![],
            top_titles: vec![],
            steering_url: None,
        }
    }

    #[test]
    fn status_says_state_fill_load_and_faults() {
        let text = status(&overview());
        for want in [
            "no plan is active",
            "north  coast   02:00-06:00 Europe/Oslo  10.0.0.0/8 2001:db8::/32",
            "north-1    north  serving     7  25 %, 9.0 Mbit/s    12  1.5 Mbit/s  4.0 Gbit/s     3  4 s ago",
            "north-1: disk_full: no space",
        ] {
            assert!(text.contains(want), "{want}\nin\n{text}");
        }
    }

    #[test]
    fn an_empty_list_of_plans_is_said_in_words() {
        assert_eq!(plans(&[]), "no plan has been published\n");
    }
}
