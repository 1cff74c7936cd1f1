//! The fleet: sites with their windows, appliances with what they can do. A table is for planning before there is a control
//! plane to ask: what appliances hold is not in it, so they are planned as if they were empty.

use super::{LoadError, is_json, json};
use crate::rows::{self, Layout, Row, RowsError};
use cdn_types::{
    FillWindow, OcaId, SiteId,
    api::v1::{ApplianceState, ApplianceView, Capacity, FillStatus, FleetSnapshot, Load, Site},
    time::Timestamp,
};
use std::{collections::BTreeMap, path::Path};

const LAYOUT: Layout = Layout::own(
    "appliances of a fleet",
    &[
        "appliance",
        "base_url",
        "region",
        "site",
        "storage",
        "egress",
        "fill_rate",
        "window_start",
        "window_end",
        "time_zone",
        "profile",
    ],
    10,
);
/// The row that names the origin's address: appliances cannot have this id.
const ORIGIN: &str = "origin";

/// Reads a fleet: JSON as `GET /v1/fleet` gives it (name ending in `.json`), else a table with a row for each appliance and one
/// for the origin.
///
/// # Errors
/// The first wrong place: a field, a site with two regions or windows, an appliance that stands twice, no origin.
pub fn fleet(file: &Path) -> Result<FleetSnapshot, LoadError> {
    if is_json(file) {
        return json(file, "a fleet snapshot as GET /v1/fleet gives it");
    }
    let (mut sites, mut appliances) = (BTreeMap::new(), BTreeMap::new());
    let mut origin = None;
    rows::read(file, &LAYOUT, |row| {
        let base_url = match row.text(1) {
            "" => return Err(row.wrong(1, "an address such as http://oca-1.example is needed".into())),
            url => url.to_owned(),
        };
        if row.text(0) == ORIGIN {
            origin = Some(base_url);
            return Ok(());
        }
        let site = site(row)?;
        let appliance = appliance(row, site.id.clone(), base_url)?;
        let known: &Site = sites.entry(site.id.clone()).or_insert_with(|| site.clone());
        if known.region != site.region {
            return Err(row.wrong(
                2,
                format!("site `{}` is in region `{}` above", site.id, known.region),
            ));
        }
        if known.window != site.window {
            return Err(row.wrong(7, format!("site `{}` has another window above", site.id)));
        }
        let id = appliance.id.clone();
        match appliances.insert(id.clone(), appliance) {
            None => Ok(()),
            Some(_) => Err(row.wrong(0, format!("`{id}` stands twice"))),
        }
    })?;
    let fallback = origin.ok_or_else(|| RowsError::Row {
        file: file.to_owned(),
        place: "end of the table".into(),
        problem: format!("no row has the appliance `{ORIGIN}`, whose base_url is the origin's address"),
    })?;
    Ok(FleetSnapshot {
        generation: 0,
        taken_at: Timestamp::UNIX_EPOCH,
        sites: sites.into_values().collect(),
        objects: Vec::new(),
        appliances: appliances.into_values().collect(),
        titles: Vec::new(),
        fallback,
    })
}

fn site(row: &Row<'_>) -> Result<Site, RowsError> {
    let window = FillWindow::new(row.text(7), row.text(8), row.text(9));
    Ok(Site {
        id: row.typed::<SiteId>(3)?,
        region: row.typed(2)?,
        prefixes: Vec::new(),
        window: window.map_err(|e| row.wrong(7, e.to_string()))?,
    })
}

fn appliance(row: &Row<'_>, site: SiteId, base_url: String) -> Result<ApplianceView, RowsError> {
    Ok(ApplianceView {
        id: row.typed::<OcaId>(0)?,
        site,
        base_url,
        profile: row.text(10).to_owned(),
        state: ApplianceState::Serving,
        conditions: Vec::new(),
        capacity: Capacity {
            storage: row.typed(4)?,
            egress: row.typed(5)?,
            fill_rate: row.typed(6)?,
        },
        load: Load::default(),
        fill: FillStatus::default(),
        plan: None,
        holds: Vec::new(),
        held: 0,
        last_report: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::{BitsPerSecond, Bytes};

    const HEADER: &str =
        "appliance,base_url,region,site,storage,egress,fill_rate,window_start,window_end,time_zone";
    const ORIGIN_ROW: &str = "origin,http://origin.example,,,,,,,,";
    const AMS: &str =
        "oca-1,http://oca-1.example,nl,ams,120 TB,40 Gbps,1.2 Gbps,02:00,14:00,Europe/Amsterdam";

    fn read(rows: &[&str]) -> Result<FleetSnapshot, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("fleet.csv");
        std::fs::write(&file, format!("{HEADER}\n{}\n", rows.join("\n"))).unwrap();
        fleet(&file).map_err(|e| e.to_string().replace(&dir.path().display().to_string(), ""))
    }

    #[test]
    fn rows_become_sites_and_appliances() {
        let second = AMS.replace("oca-1", "oca-2");
        let fleet = read(&[&second, ORIGIN_ROW, AMS]).unwrap();
        assert_eq!((fleet.sites.len(), fleet.appliances.len()), (1, 2));
        assert_eq!(fleet.fallback, "http://origin.example");
        let capacity = &fleet.appliances[0].capacity;
        assert_eq!(fleet.appliances[0].id.as_str(), "oca-1");
        assert_eq!(
            (capacity.storage, capacity.fill_rate),
            (Bytes(120_000_000_000_000), BitsPerSecond(1_200_000_000))
        );
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let with = |from: &str, to: &str| AMS.replace(from, to);
        let table = [
            (vec![AMS.to_owned()], "no row has the appliance `origin`"),
            (
                vec![AMS.to_owned(), AMS.to_owned()],
                "line 3, column `appliance`: `oca-1` stands twice",
            ),
            (vec![with("120 TB", "-1 TB")], "line 2, column `storage`"),
            (
                vec![with("02:00", "2")],
                "line 2, column `window_start`: `2` is not a time of day",
            ),
            (
                vec![with("Europe/Amsterdam", "Mars")],
                "`Mars` is not a time zone",
            ),
            (
                vec![with("http://oca-1.example", "")],
                "line 2, column `base_url`: an address",
            ),
            (
                vec![AMS.to_owned(), with("oca-1,", "oca-2,").replace(",nl,", ",de,")],
                "line 3, column `region`: site `ams` is in region `nl` above",
            ),
            (
                vec![AMS.to_owned(), with("oca-1,", "oca-2,").replace("14:00", "15:00")],
                "line 3, column `window_start`: site `ams` has another window above",
            ),
        ];
        for (rows, expected) in table {
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            let error = read(&rows).unwrap_err();
            assert!(
                error.starts_with("/fleet.csv: ") && error.contains(expected),
                "{error}\nwanted: {expected}"
            );
        }
    }
}
