//! The report as text for people.

use crate::report::{ApplianceReport, PlanReport, SiteReport, TitleReport};
use std::fmt::Write;

/// Titles listed for an appliance; the JSON report has them all.
const MAX_TITLES: usize = 60;
/// Left out titles listed for a site; the JSON report has them all.
const MAX_LEFT_OUT: usize = 20;
/// Links listed; the JSON report has them all.
const MAX_LINKS: usize = 40;

/// Writes a report as Markdown.
pub fn render(report: &PlanReport) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(&mut out, report);
    out
}

fn write_report(out: &mut String, r: &PlanReport) -> std::fmt::Result {
    writeln!(out, "# Plan {} for {}\n", r.number, r.date)?;
    let known = match (&r.history.oldest, &r.history.newest) {
        (Some(oldest), Some(newest)) => {
            format!(
                "{} days of demand, {oldest} to {newest}, {}",
                r.history.days, r.history.bytes
            )
        }
        _ => "no demand".to_owned(),
    };
    writeln!(
        out,
        "Forecast: {}, from {known}. Seed {}. Inputs {}.\n",
        r.method,
        r.seed,
        r.inputs.short()
    )?;
    write_optimum(out, r)?;
    if let Some(p) = r.promise {
        writeln!(
            out,
            "- Promised: {:.1} % of the day's bytes from the viewers' own sites ({:.1} to {:.1} % in nine days of ten, by {} days planned anew).",
            p.hit_share * 100.0,
            p.low * 100.0,
            p.high * 100.0,
            p.days
        )?;
    }
    for warning in &r.warnings {
        writeln!(out, "- Warning: {warning}.")?;
    }
    if !r.warnings.is_empty() {
        writeln!(out)?;
    }
    writeln!(
        out,
        "| appliance | site | kept | added | dropped | stored | night's fill | expected to serve | share of its site |"
    )?;
    writeln!(out, "|---|---|--:|--:|--:|--:|--:|--:|--:|")?;
    for site in &r.sites {
        for a in &site.appliances {
            let stored = percent(a.kept.0 + a.added.0, a.storage.0);
            let fill = percent(a.added.0, a.fill_cap.0);
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {stored} | {fill} | {} | {} |",
                a.appliance,
                site.site,
                a.kept,
                a.added,
                a.dropped,
                a.expected,
                share(a.hit_share)
            )?;
        }
    }
    for site in &r.sites {
        write_site(out, site)?;
    }
    Ok(())
}

/// The gap to the bound, and the links.
fn write_optimum(out: &mut String, r: &PlanReport) -> std::fmt::Result {
    let o = &r.optimum;
    writeln!(
        out,
        "Given the forecast the plan is worth {} a day, within {:.2} % of what no plan can pass ({}); room is made tonight for {} of it.\n",
        o.worth,
        100.0 * o.gap,
        o.bound,
        o.tomorrow
    )?;
    let busy = || r.links.iter().filter(|l| l.bytes.0 > 0 || l.cap.is_some());
    if busy().next().is_none() {
        return Ok(());
    }
    writeln!(
        out,
        "| link | bytes of the night | cap | used |\n|---|--:|--:|--:|"
    )?;
    for l in busy().take(MAX_LINKS) {
        let cap = l.cap.map_or_else(|| "-".to_owned(), |c| c.to_string());
        let used = percent(l.bytes.0, l.cap.map_or(0, |c| c.0));
        writeln!(out, "| {} | {} | {cap} | {used} |", l.link, l.bytes)?;
    }
    more(out, busy().count(), MAX_LINKS)?;
    writeln!(out)
}

fn write_site(out: &mut String, site: &SiteReport) -> std::fmt::Result {
    writeln!(out, "\n## Site {} (region {})\n", site.site, site.region)?;
    writeln!(
        out,
        "Its viewers are expected to draw {}; its own appliances can serve {} of that.",
        site.expected,
        share(site.hit_share)
    )?;
    if let Some(survives) = site.survives {
        writeln!(
            out,
            "If the appliance that matters most fails, {:.1} % of it stays here at the peak.",
            100.0 * survives
        )?;
    }
    for a in &site.appliances {
        write_appliance(out, a)?;
    }
    if !site.left_out.is_empty() {
        writeln!(
            out,
            "\n### Not at {}: {} titles, of which {} would be drawn\n",
            site.site, site.left_out_titles, site.left_out_expected
        )?;
        writeln!(out, "| title | size | expected | because |\n|---|--:|--:|---|")?;
        for l in site.left_out.iter().take(MAX_LEFT_OUT) {
            writeln!(
                out,
                "| {} | {} | {} | {} |",
                name(Some(&l.title), l.file.as_deref()),
                l.size,
                l.expected,
                l.reason.because()
            )?;
        }
        more(out, site.left_out_titles as usize, MAX_LEFT_OUT)?;
    }
    Ok(())
}

fn write_appliance(out: &mut String, a: &ApplianceReport) -> std::fmt::Result {
    writeln!(out, "\n### {}\n", a.appliance)?;
    if a.titles.is_empty() {
        return writeln!(out, "Holds nothing and gets nothing.");
    }
    writeln!(
        out,
        "| | title | size | to fill | expected here | copies | because |\n|---|---|--:|--:|--:|--:|---|"
    )?;
    for t in a.titles.iter().take(MAX_TITLES) {
        write_title(out, t)?;
    }
    more(out, a.titles.len(), MAX_TITLES)
}

fn write_title(out: &mut String, t: &TitleReport) -> std::fmt::Result {
    writeln!(
        out,
        "| {} | {} | {} | {} | {} | {} | {} |",
        t.action.as_str(),
        name(t.title.as_ref(), t.file.as_deref()),
        t.size,
        t.fill,
        t.expected,
        t.copies,
        t.because
    )
}

/// A title, with the file where only a part of it is meant.
pub fn name(title: Option<&cdn_types::TitleId>, file: Option<&str>) -> String {
    match (title, file) {
        (None, _) => "(not in the catalogue)".to_owned(),
        (Some(title), None) => title.to_string(),
        (Some(title), Some(file)) => format!("{title} ({file})"),
    }
}

fn more(out: &mut String, all: usize, shown: usize) -> std::fmt::Result {
    match all.saturating_sub(shown) {
        0 => Ok(()),
        n => writeln!(out, "\nAnd {n} more: see the JSON report."),
    }
}

fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        _ => format!("{:.0} %", 100.0 * part as f64 / whole as f64),
    }
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |s| format!("{:.1} %", 100.0 * s))
}
