//! What is known of titles beside catalogue and demand: their facts, and the launch calendar. Formats: docs/formats/planner.md.

use crate::{
    cli::ServiceArgs,
    load::LoadError,
    rows::{self, Layout, Row, RowsError},
};
use cdn_types::api::v1::Catalogue;
use fill_core::{
    evaluate::panel::Kind,
    service::{Facts, Launch, Service},
};

const TITLES: Layout = Layout::own(
    "facts of titles",
    &[
        "title",
        "kind",
        "franchise",
        "season",
        "episode",
        "runtime_min",
        "original",
        "global",
        "home",
        "release",
        "bytes",
    ],
    8,
);
const LAUNCHES: Layout = Layout::own("launches", &["title", "region", "instant", "expected", "pin"], 4);

impl ServiceArgs {
    /// Facts of titles; none without a file.
    ///
    /// # Errors
    /// The first wrong row, by place and column.
    pub fn titles(&self) -> Result<Vec<Facts>, LoadError> {
        let mut all = Vec::new();
        if let Some(file) = &self.titles {
            rows::read(file, &TITLES, |row| {
                all.push(facts(row)?);
                Ok(())
            })?;
        }
        Ok(all)
    }

    /// The launch calendar; empty without a file.
    ///
    /// # Errors
    /// The first wrong row, by place and column.
    pub fn launches(&self) -> Result<Vec<Launch>, LoadError> {
        let mut all = Vec::new();
        if let Some(file) = &self.launches {
            rows::read(file, &LAUNCHES, |row| {
                all.push(Launch {
                    title: row.typed(0)?,
                    region: row.typed(1)?,
                    instant: row.typed(2)?,
                    expected: row.amount(3)?,
                    pinned_until: row.optional(4, "a date such as 2026-12-01")?,
                });
                Ok(())
            })?;
        }
        Ok(all)
    }

    /// The service with all that is known of it.
    ///
    /// # Errors
    /// As for [`titles`](Self::titles).
    pub fn service(&self, catalogue: &Catalogue) -> Result<Service, LoadError> {
        Ok(Service::new(catalogue, &self.titles()?, &self.launches()?))
    }
}

fn facts(row: &Row<'_>) -> Result<Facts, RowsError> {
    let small = |column| row.parse::<u16>(column, "a whole number from 0 to 65535");
    let yes = |column| row.parse::<bool>(column, "true or false");
    Ok(Facts {
        title: row.typed(0)?,
        kind: match row.text(1) {
            "film" => Kind::Film,
            "season" => Kind::Season,
            "episode" => Kind::Episode,
            other => return Err(row.wrong(1, format!("`{other}` is not film, season or episode"))),
        },
        franchise: row.parse(2, "a whole number from 0 to 4294967295")?,
        season: small(3)?,
        episode: small(4)?,
        runtime: small(5)?,
        original: yes(6)?,
        global: yes(7)?,
        home: row.optional(8, "a region id")?,
    })
}
