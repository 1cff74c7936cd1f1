//! Writes a plan and its reports. A plan file is written whole or not at all, and never changed afterwards: a number
//! names one plan.

use cdn_types::{PlanNumber, plan::Plan};
use fill_core::{PlanReport, assemble::Planned, markdown};
use std::path::{Path, PathBuf};

/// Why the result is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The folder or a file cannot be written.
    #[error("cannot write {}: {source}", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The number names another plan already.
    #[error("{} exists and is another plan; a plan never changes: give a higher --number", .0.display())]
    Taken(PathBuf),
}

/// JSON of a plan: the bytes that are the same for the same inputs.
pub fn plan_json(plan: &Plan) -> Vec<u8> {
    json(plan)
}

/// JSON of a report.
pub fn report_json(report: &PlanReport) -> Vec<u8> {
    json(report)
}

/// A document as JSON, ending with a line break.
pub fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("plain data with text keys is always JSON");
    text.push(b'\n');
    text
}

/// Writes `plan-N.json`, `report-N.md` and `report-N.json` and returns the plan's path.
pub fn write(dir: &Path, planned: &Planned) -> Result<PathBuf, OutputError> {
    make_folder(dir)?;
    let number = planned.plan.number;
    let plan = dir.join(format!("plan-{number}.json"));
    let text = plan_json(&planned.plan);
    if std::fs::read(&plan).is_ok_and(|there| there != text) {
        return Err(OutputError::Taken(plan));
    }
    replace(
        &dir.join(format!("report-{number}.json")),
        &report_json(&planned.report),
    )?;
    replace(
        &dir.join(format!("report-{number}.md")),
        markdown::render(&planned.report).as_bytes(),
    )?;
    replace(&plan, &text)?;
    Ok(plan)
}

/// Makes a folder if it is not there.
pub fn make_folder(dir: &Path) -> Result<(), OutputError> {
    std::fs::create_dir_all(dir).map_err(|source| OutputError::Write {
        file: dir.to_owned(),
        source,
    })
}

/// Numbers of the plans in a folder.
pub fn numbers(dir: &Path) -> Vec<PlanNumber> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|e| {
            let name = e.file_name();
            let number = name.to_str()?.strip_prefix("plan-")?.strip_suffix(".json")?;
            number.parse().ok().map(PlanNumber)
        })
        .collect()
}

/// Writes a file whole, or leaves what there was.
pub fn replace(file: &Path, text: &[u8]) -> Result<(), OutputError> {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let written = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, file));
    written.map_err(|source| {
        let _ = std::fs::remove_file(&part); // on a full disk its room is wanted; what failed is said
        OutputError::Write {
            file: file.to_owned(),
            source,
        }
    })
}
