//! What a plan would change, for `--dry-run`: one block an appliance, `+` to fill, `-` to drop, `=` to keep.

use fill_core::{
    PlanReport, markdown,
    report::{Action, ApplianceReport, TitleReport},
};
use std::fmt::Write;

/// Writes the changes of a plan as text.
pub fn render(report: &PlanReport) -> String {
    let mut out = format!(
        "plan {} for {} (dry run, nothing is written)\n",
        report.number, report.date
    );
    let optimum = &report.optimum;
    let _ = writeln!(
        out,
        "worth {} a day, within {:.2} % of what no plan can pass",
        optimum.worth,
        100.0 * optimum.gap
    );
    for warning in &report.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    for site in &report.sites {
        for appliance in &site.appliances {
            write_appliance(&mut out, site.site.as_str(), appliance);
        }
        for left in &site.left_out {
            let title = markdown::name(Some(&left.title), left.file.as_deref());
            let reason = left.reason.because();
            let _ = writeln!(out, "site {}: without {title}: {reason}", site.site);
        }
    }
    out
}

fn write_appliance(out: &mut String, site: &str, a: &ApplianceReport) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{} (site {site}): {} added, {} kept, {} dropped",
        a.appliance, a.added, a.kept, a.dropped
    );
    for action in [Action::Added, Action::Dropped, Action::Kept] {
        for title in a.titles.iter().filter(|t| t.action == action) {
            let _ = writeln!(out, "  {}", line(title));
        }
    }
}

fn line(t: &TitleReport) -> String {
    let (sign, amount) = match t.action {
        Action::Added => ('+', t.fill),
        Action::Dropped => ('-', t.size),
        Action::Kept => ('=', t.size),
    };
    let title = markdown::name(t.title.as_ref(), t.file.as_deref());
    format!("{sign} {title} {amount}: {}", t.because)
}
