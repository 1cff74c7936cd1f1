//! The report as one page that needs nothing else.

use super::{
    report::Report,
    svg::{Axis, Series, bars, escape, lines},
};
use fill_core::evaluate::{
    bootstrap::Estimate,
    replay::Keeper,
    summary::{ALPHAS, Row, Table},
};
use std::fmt::Write;

const STYLE: &str = "
:root{--ink:#1b2430;--soft:#5b6777;--line:#d9dee6;--back:#fff;--shade:#f4f6f9;--mark:#fff3d6;
--c0:#0b63ce;--c1:#d1495b;--c2:#2a9d5c;--c3:#8a5cd1;--c4:#c77d0a;--c5:#4a5568}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf2;--soft:#9aa7b8;--line:#344050;--back:#141a22;--shade:#1c2530;--mark:#3a3016;
--c0:#6aa9ff;--c1:#ff8b98;--c2:#63d296;--c3:#b79bff;--c4:#f0b14a;--c5:#a9b6c6}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1240px;padding:24px;font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back)}
h1{margin:0 0 4px;font-size:26px}h2{margin:36px 0 8px;font-size:19px}p{margin:6px 0;max-width:85ch}
.soft,figcaption,td small{color:var(--soft)}.flag{display:inline-block;padding:2px 10px;border-radius:4px;background:var(--c1);color:var(--back);font-weight:700;letter-spacing:.06em}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:12px;margin:18px 0}
.tile{background:var(--shade);border-radius:8px;padding:12px 14px}.tile b{display:block;font-size:21px;line-height:1.2}.tile span{color:var(--soft);font-size:13px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:22px}figure{margin:0}svg{width:100%;height:auto;font:12px system-ui,sans-serif;fill:var(--ink)}
figcaption{font-size:13px}.grid{stroke:var(--line)}.even{stroke:var(--soft);stroke-dasharray:4 4}.name{fill:var(--soft)}polyline{fill:none;stroke-width:2}
.key{white-space:nowrap;margin-right:12px}.key i{display:inline-block;width:12px;height:3px;margin-right:5px;vertical-align:middle}
.bar{fill:var(--line)}.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:5px 8px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:600;vertical-align:bottom}
tr.own td{background:var(--shade)}tr.best td{background:var(--mark)}
.c0{stroke:var(--c0);fill:var(--c0);background:var(--c0)}.c1{stroke:var(--c1);fill:var(--c1);background:var(--c1)}.c2{stroke:var(--c2);fill:var(--c2);background:var(--c2)}
.c3{stroke:var(--c3);fill:var(--c3);background:var(--c3)}.c4{stroke:var(--c4);fill:var(--c4);background:var(--c4)}.c5{stroke:var(--c5);fill:var(--c5);background:var(--c5)}
polyline.c0,polyline.c1,polyline.c2,polyline.c3,polyline.c4,polyline.c5{fill:none;background:none}rect.c0{stroke:none}
";

/// The page.
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut out, report);
    out
}

fn write_page(out: &mut String, report: &Report) -> std::fmt::Result {
    let flag = if report.simulated {
        r#"<span class="flag">SIMULATED</span> "#
    } else {
        ""
    };
    let label = if report.simulated { "SIMULATED: " } else { "" };
    write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{label}nights replayed</title><style>{STYLE}</style><h1>Nights replayed</h1><p>{flag}{}.</p>",
        escape(&report.subject)
    )?;
    if report.simulated {
        out.push_str("<p class=\"soft\">No figure on this page was measured on real viewers. It tells methods apart under the same simulated demand.</p>");
    }
    out.push_str("<p class=\"soft\">Each day is planned on the past only (reports until 22:00, fill 02:00 to 14:00), from the contents left by the day before, under the same storage and fill cap, and served from 14:00 on. O1 is the most that could be served with the day known, from the same contents and under the same storage and cap; O2 has no cap. Intervals: 95 %, paired bootstrap over blocks of a week of one region.</p>");
    tiles(out, report)?;
    out.push_str("<h2>At a glance</h2><div class=\"charts\">");
    out.push_str(&budget(report));
    out.push_str(&calibration(report));
    out.push_str(&churn(report));
    if let Some(table) = report.tables.first() {
        out.push_str(&worst(table));
    }
    out.push_str("</div>");
    for table in &report.tables {
        write_table(out, table, label)?;
    }
    closing(out, report)
}

/// The best planner row: what the page is about.
fn own(table: &Table) -> Option<&Row> {
    table
        .rows
        .iter()
        .find(|r| r.keeper == Keeper::PlannerRoomBefore && r.calendar)
}

fn tiles(out: &mut String, report: &Report) -> std::fmt::Result {
    let rows: Vec<&Row> = report.tables.iter().filter_map(own).collect();
    let range = |f: &dyn Fn(&Row) -> Option<f64>, text: &dyn Fn(f64) -> String| {
        let values: Vec<f64> = rows.iter().filter_map(|r| f(r)).collect();
        let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |a, v| {
            (a.0.min(*v), a.1.max(*v))
        });
        match (values.is_empty(), text(low) == text(high)) {
            (true, _) => "-".to_owned(),
            (_, true) => text(low),
            _ => format!("{} to {}", text(low), text(high)),
        }
    };
    let tiles = [
        (
            range(&|r| Some(r.peak_hit), &percent),
            "of bytes served locally at the evening peak",
        ),
        (range(&|r| r.of_o1.map(|e| e.value), &percent), "of the oracle O1"),
        (
            range(&|r| r.gap_to_plain.map(|e| e.value), &percent),
            "of the gap from the best baseline without calendar to O1 closed",
        ),
        (
            range(&|r| r.gap_closed.map(|e| e.value), &percent),
            "of the gap from the best baseline of all, calendar included, to O1 closed (below 0: behind it)",
        ),
        (
            range(&|r| Some(r.fill_of_best), &|v| format!("{v:.2} x")),
            "the fill bytes of the best baseline of all",
        ),
        (
            range(&|r| Some(r.fill_of_plain), &|v| format!("{v:.2} x")),
            "the fill bytes of the best baseline without calendar",
        ),
        (
            range(&|r| r.cold_of_o1.map(|c| c[0]), &percent),
            "of O1 on titles in their first day",
        ),
    ];
    out.push_str("<div class=\"tiles\">");
    for (value, name) in tiles {
        write!(
            out,
            "<div class=\"tile\"><b>{value}</b><span>planner, boosted + calendar: {name}</span></div>"
        )?;
    }
    out.push_str("</div>");
    Ok(())
}

fn percent(v: f64) -> String {
    format!("{:.1} %", 100.0 * v)
}

/// Byte hit at the peak over storage, at each fill cap's largest.
fn budget(report: &Report) -> String {
    let cap = report.tables.iter().map(|t| t.cell.fill).fold(0.0, f64::max);
    let mut tables: Vec<&Table> = report.tables.iter().filter(|t| t.cell.fill == cap).collect();
    tables.sort_by(|a, b| a.cell.storage.total_cmp(&b.cell.storage));
    let names = [
        "planner, boosted + calendar",
        "planner, boosted",
        "last day's top + calendar",
        "last day's top",
        "S3-FIFO",
    ];
    let mut series: Vec<Series> = names
        .iter()
        .map(|name| {
            let points = tables.iter().filter_map(|t| {
                let row = t.rows.iter().find(|r| r.method == *name)?;
                Some([t.cell.storage, row.byte_hit.value])
            });
            Series {
                name: (*name).to_owned(),
                points: points.collect(),
            }
        })
        .collect();
    let oracle = tables.iter().filter_map(|t| {
        let row = own(t)?;
        Some([t.cell.storage, row.byte_hit.value / row.of_o1?.value])
    });
    series.push(Series {
        name: "O1".into(),
        points: oracle.collect(),
    });
    series.retain(|s| !s.points.is_empty());
    let all = || series.iter().flat_map(|s| &s.points);
    let x = Axis::around(
        "storage, share of the catalogue's bytes",
        all().map(|p| p[0]),
        false,
        |v| format!("{:.0} %", 100.0 * v),
    );
    let y = Axis::around("bytes served locally", all().map(|p| p[1]), false, |v| {
        format!("{:.0} %", 100.0 * v)
    });
    lines(
        &format!(
            "Budget: bytes served locally by storage, fill cap {:.1} TB",
            cap / 1e12
        ),
        &x,
        &y,
        &series,
        false,
    )
}

fn bytes(v: f64) -> String {
    let (unit, name) = match v {
        v if v >= 1e12 => (1e12, "TB"),
        v if v >= 1e9 => (1e9, "GB"),
        _ => (1e6, "MB"),
    };
    format!("{:.0} {name}", v / unit)
}

fn calibration(report: &Report) -> String {
    let series: Vec<Series> = report
        .calibration
        .iter()
        .map(|(name, points)| Series {
            name: name.clone(),
            points: points.clone(),
        })
        .collect();
    let all = || series.iter().flat_map(|s| &s.points).flatten().copied();
    let axis = |name| Axis::around(name, all(), true, bytes);
    lines(
        "Calibration: drawn against expected bytes of a title's day, in groups of equal expected bytes (first history)",
        &axis("expected"),
        &axis("drawn"),
        &series,
        true,
    )
}

fn churn(report: &Report) -> String {
    let chosen = [
        "planner, boosted + calendar",
        "boosted, plain swap + calendar",
        "last day's top + calendar",
        "decayed mean + calendar",
    ];
    let series: Vec<Series> = report
        .churn
        .iter()
        .filter(|(name, _)| chosen.contains(&name.as_str()))
        .map(|(name, nights)| Series {
            name: name.clone(),
            points: nights
                .iter()
                .enumerate()
                .map(|(i, v)| [(i + 1) as f64, *v])
                .collect(),
        })
        .collect();
    let all = || series.iter().flat_map(|s| &s.points);
    let x = Axis::around("night", all().map(|p| p[0]), false, |v| format!("{v:.0}"));
    let y = Axis::around(
        "filled, share of storage",
        all().map(|p| p[1]).chain([0.0]),
        false,
        percent,
    );
    lines(
        "Churn: what each night brings in (first history, first limits)",
        &x,
        &y,
        &series,
        false,
    )
}

fn worst(table: &Table) -> String {
    let rows: Vec<(String, f64, f64)> = table
        .rows
        .iter()
        .map(|r| (r.method.clone(), r.worst_region, r.byte_hit.value))
        .collect();
    bars(
        &format!(
            "Worst region (dark) and all regions (light): bytes served locally, storage {:.0} %, fill {:.1} TB",
            100.0 * table.cell.storage,
            table.cell.fill / 1e12
        ),
        &rows,
        percent,
    )
}

fn write_table(out: &mut String, table: &Table, label: &str) -> std::fmt::Result {
    write!(
        out,
        "<h2>{label}storage {:.0} % of the catalogue, fill {:.1} TB a night</h2><p class=\"soft\">Best baseline: {}; best without calendar: {}. {} of demand is on titles in their first day, {} in their first three days.</p><div class=\"scroll\"><table><thead><tr>",
        100.0 * table.cell.storage,
        table.cell.fill / 1e12,
        escape(&table.best_baseline),
        escape(&table.best_plain),
        percent(table.young_demand[0]),
        percent(table.young_demand[1])
    )?;
    let mut heads: Vec<String> = [
        "method",
        "byte hit",
        "at peak",
        "of O1",
        "of O2",
        "gap to O1 closed<br>best baseline",
        "gap to O1 closed<br>best without calendar",
        "filled a night<br>and region",
        "of best<br>baseline's",
        "served in 7 days<br>per byte filled",
    ]
    .map(str::to_owned)
    .to_vec();
    heads.extend(ALPHAS.iter().map(|a| format!("net<br>&alpha; = {a}")));
    heads.extend(
        [
            "first day",
            "of O1",
            "first 3 days",
            "P10 region",
            "worst region",
            "upstream<br>p95",
        ]
        .map(str::to_owned),
    );
    for head in heads {
        write!(out, "<th>{head}</th>")?;
    }
    out.push_str("</tr></thead><tbody>");
    for row in &table.rows {
        let class = match (
            row.baseline,
            row.method == table.best_baseline || row.method == table.best_plain,
        ) {
            (false, _) => "own",
            (true, true) => "best",
            (true, false) => "",
        };
        write!(out, "<tr class=\"{class}\"><td>{}</td>", escape(&row.method))?;
        let range = |e: Estimate| format!("{:.3} <small>{:.3} to {:.3}</small>", e.value, e.low, e.high);
        let plain = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| format!("{v:.3}"));
        let mut cells = vec![
            range(row.byte_hit),
            format!("{:.3}", row.peak_hit),
            row.of_o1.map_or_else(|| "-".into(), range),
            plain(row.of_o2),
            plain(row.gap_closed.map(|e| e.value)),
            row.gap_to_plain.map_or_else(|| "-".into(), range),
            bytes_fine(row.fill),
            format!("{:.2}", row.fill_of_best),
            row.earned.map_or_else(|| "-".into(), |e| format!("{e:.1}")),
        ];
        cells.extend(row.net.iter().map(|n| format!("{n:.3}")));
        cells.extend([
            format!("{:.3}", row.cold[0]),
            plain(row.cold_of_o1.map(|c| c[0])),
            format!("{:.3}", row.cold[1]),
            format!("{:.3}", row.p10_region),
            format!("{:.3}", row.worst_region),
            format!("{:.1} Gbit/s", row.upstream_p95),
        ]);
        for cell in cells {
            write!(out, "<td>{cell}</td>")?;
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    Ok(())
}

fn bytes_fine(v: f64) -> String {
    format!("{:.2} TB", v / 1e12)
}

fn closing(out: &mut String, report: &Report) -> std::fmt::Result {
    out.push_str("<h2>Cost and loss</h2>");
    if let Some(s) = &report.survival {
        write!(
            out,
            "<p>With {} appliances a site, the worst loss of one leaves {} of what was served with the planner's copies ({} of demand), and {} with single copies spread by hashing ({}).</p>",
            s.appliances,
            percent(s.planner),
            percent(s.planner_hit),
            percent(s.single),
            percent(s.single_hit)
        )?;
    }
    let seconds: Vec<String> = report
        .forecast_seconds
        .iter()
        .map(|(name, s)| format!("{} {s:.1} s", escape(name)))
        .collect();
    write!(
        out,
        "<p>Forecasts of all nights of one history, training included: {}. One night of one method, oracles and scoring included: {:.0} ms.{}</p>",
        seconds.join(", "),
        1e3 * report.night_seconds,
        report.peak_memory.map_or_else(String::new, |m| format!(
            " Peak memory of the whole run: {:.0} MB.",
            m as f64 / 1e6
        ))
    )?;
    out.push_str("</html>\n");
    Ok(())
}
