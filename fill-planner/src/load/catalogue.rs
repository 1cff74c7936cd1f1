//! The catalogue: every object with its title, size and public path.

use super::{LoadError, is_json, json};
use crate::rows::{self, Layout};
use cdn_types::{
    Bytes,
    api::v1::{Catalogue, CatalogueObject},
};
use std::path::Path;

const LAYOUT: Layout = Layout::own(
    "objects of a catalogue",
    &["object", "size", "title", "path", "media_type", "rendition"],
    5,
);

/// Reads a catalogue: JSON as `GET /v1/catalogue` gives it (name ending in `.json`), else a table.
///
/// # Errors
/// The first wrong place. What contradicts itself, such as one digest with two sizes, is found when it is planned with.
pub fn catalogue(file: &Path) -> Result<Catalogue, LoadError> {
    if is_json(file) {
        return json(file, "a catalogue as GET /v1/catalogue gives it");
    }
    let mut objects = Vec::new();
    rows::read(file, &LAYOUT, |row| {
        let rendition = row.text(5);
        objects.push(CatalogueObject {
            digest: row.typed(0)?,
            size: Bytes(row.count(1)?),
            title: row.typed(2)?,
            path: row.text(3).to_owned(),
            media_type: row.text(4).to_owned(),
            rendition: (!rendition.is_empty()).then(|| rendition.to_owned()),
        });
        Ok(())
    })?;
    objects.sort_by(|a, b| (&a.title, &a.path).cmp(&(&b.title, &b.path)));
    Ok(Catalogue { objects })
}
