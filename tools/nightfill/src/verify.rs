//! `nightfill verify`: is what the plan lists really on an appliance's drives, bit for bit? The answer comes from the
//! files themselves and not from what the appliance reports.

use crate::digests::digest_file;
use cdn_types::{Bytes, ObjectDigest, plan::AppliancePlan};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// One planned object and what was found of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedObject {
    /// Public path.
    pub path: String,
    /// Digest that the plan lists.
    pub digest: ObjectDigest,
    /// Size that the plan lists.
    pub size: Bytes,
    /// What is wrong with the file; empty if nothing.
    pub fault: String,
}

/// A file that is there but cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {source}")]
pub struct VerifyError {
    file: PathBuf,
    source: io::Error,
}

/// Where an appliance keeps an object below its root: `objects/ab/abcd…`.
pub fn object_file(root: &Path, digest: &ObjectDigest) -> PathBuf {
    let name = digest.to_string();
    root.join("objects").join(&name[..2]).join(&name)
}

/// Looks every object of `part` up below the appliance's `root` and computes its digest anew.
pub fn planned_objects(root: &Path, part: &AppliancePlan) -> Result<Vec<PlannedObject>, VerifyError> {
    let mut faults: BTreeMap<ObjectDigest, String> = BTreeMap::new();
    let mut out = Vec::with_capacity(part.items.len());
    for item in &part.items {
        // Two paths may have the same bytes: one file.
        let fault = match faults.get(&item.digest) {
            Some(fault) => fault.clone(),
            None => fault(root, &item.digest, item.size)?,
        };
        faults.insert(item.digest, fault.clone());
        out.push(PlannedObject {
            path: item.path.clone(),
            digest: item.digest,
            size: item.size,
            fault,
        });
    }
    Ok(out)
}

fn fault(root: &Path, digest: &ObjectDigest, size: Bytes) -> Result<String, VerifyError> {
    let file = object_file(root, digest);
    let found = match digest_file(&file, |_| ()) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok("missing".to_owned()),
        Err(source) => return Err(VerifyError { file, source }),
    };
    Ok(if found.size != size {
        format!("has {} bytes, not {}", found.size.0, size.0)
    } else if found.digest != *digest {
        format!("has digest {}…", found.digest.short())
    } else {
        String::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::{BitsPerSecond, FillWindow, OcaId, RegionId, SiteId, TitleId, plan::PlanItem};

    #[test]
    fn missing_short_and_wrong_objects_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let bodies: [&[u8]; 4] = [b"whole", b"gone", b"cut short", b"flipped"];
        let item = |body: &[u8]| PlanItem {
            digest: ObjectDigest::of(body),
            size: Bytes(body.len() as u64),
            title: TitleId::new("t").unwrap(),
            path: format!("/t/t/v/{}", body.len()),
            media_type: "video/mp4".into(),
            from: vec![],
            expected: Bytes(0),
            kept: false,
        };
        let part = AppliancePlan {
            appliance: OcaId::new("a").unwrap(),
            site: SiteId::new("s").unwrap(),
            region: RegionId::new("r").unwrap(),
            window: FillWindow::always(),
            fill_rate: BitsPerSecond(1),
            sources: vec![],
            items: bodies.map(item).into(),
            drops: vec![],
        };
        for (body, on_disk) in [(0, &b"whole"[..]), (2, b"cut"), (3, b"flippeD")] {
            let file = object_file(root.path(), &ObjectDigest::of(bodies[body]));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, on_disk).unwrap();
        }
        let faults: Vec<_> = planned_objects(root.path(), &part)
            .unwrap()
            .into_iter()
            .map(|o| o.fault)
            .collect();
        assert_eq!(faults[..3], ["", "missing", "has 3 bytes, not 9"]);
        assert!(faults[3].starts_with("has digest "), "{}", faults[3]);
    }
}
