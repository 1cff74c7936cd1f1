//! Titles, their versions, and the objects of each.
//!
//! A title has one current version, or none when it was removed; earlier ones stay while an appliance or a plan still lists their objects, so
//! that a fill which runs can end. A manifest is kept as its parts, once: the objects stand in their own table and
//! `title.json` is put together from both.

use super::{Store, StoreError, codec};
use cdn_types::{
    Bytes, ObjectDigest, TitleId,
    api::v1::{Catalogue, CatalogueObject, ObjectInfo, TitleRegistration},
    time::Timestamp,
    title::{TITLE_FORMAT, TitleManifest, TitleObject},
};

/// The current version of a title, without its objects' details.
#[derive(Debug, Clone, PartialEq)]
pub struct TitleRow {
    /// Its id.
    pub id: TitleId,
    /// Version in its public path.
    pub version: String,
    /// For people.
    pub name: String,
    /// Playing time in milliseconds.
    pub duration_ms: u64,
    /// Path of the multivariant playlist within the title.
    pub hls_path: String,
    /// Path of the MPD within the title.
    pub dash_path: String,
    /// Text of the multivariant playlist.
    pub hls: String,
    /// Text of the MPD.
    pub dash: String,
}

/// An object of any version that is still kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownObject {
    /// Title that it belongs to.
    pub title: TitleId,
    /// Version that it belongs to.
    pub version: String,
    /// Whether that version is the title's current one.
    pub current: bool,
    /// Path within the title.
    pub path: String,
    /// The object.
    pub digest: ObjectDigest,
    /// Its size in bytes.
    pub size: Bytes,
}

type TitleColumns = (String, String, String, i64, String, String, String, String);
type ObjectColumns = (String, Vec<u8>, i64, String, String, Option<String>, Vec<u8>);
type KnownColumns = (String, String, bool, String, Vec<u8>, i64);
type InfoColumns = (String, String, String, Vec<u8>, i64, String, Vec<u8>);
type CatalogueColumns = (String, String, String, Vec<u8>, i64, String, Option<String>);

impl Store {
    /// Registers a title and makes this version its current one.
    pub async fn put_title(&self, title: &TitleRegistration, now: Timestamp) -> Result<(), StoreError> {
        let m = &title.manifest;
        let (id, version) = (m.id.to_string(), m.version());
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE title_versions SET current = FALSE WHERE title = $1")
            .bind(id.clone())
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM title_versions WHERE title = $1 AND version = $2")
            .bind(id.clone())
            .bind(version.clone())
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO title_versions (title, version, current, name, duration_ms, hls_path, dash_path,
                 renditions, hls, dash, registered)
             VALUES ($1, $2, TRUE, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(id.clone())
        .bind(version.clone())
        .bind(m.name.clone())
        .bind(codec::to_db(m.duration_ms))
        .bind(m.hls.clone())
        .bind(m.dash.clone())
        .bind(codec::json(&m.renditions))
        .bind(title.hls.clone())
        .bind(title.dash.clone())
        .bind(now.as_millisecond())
        .execute(&mut *tx)
        .await?;
        for object in &m.objects {
            let blocks = object
                .blocks
                .iter()
                .flat_map(|b| *b.as_bytes())
                .collect::<Vec<u8>>();
            sqlx::query(
                "INSERT INTO objects (title, version, path, digest, size, media_type, role, rendition, blocks)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(id.clone())
            .bind(version.clone())
            .bind(object.path.clone())
            .bind(codec::blob(&object.digest))
            .bind(codec::to_db(object.size.0))
            .bind(object.media_type.clone())
            .bind(codec::name(object.role))
            .bind(object.rendition.clone())
            .bind(blocks)
            .execute(&mut *tx)
            .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Leaves a title without a current version.
    pub async fn retire_title(&self, id: &TitleId) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE title_versions SET current = FALSE WHERE title = $1")
            .bind(id.to_string())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// The current version of every title.
    pub async fn titles(&self) -> Result<Vec<TitleRow>, StoreError> {
        let rows: Vec<TitleColumns> = sqlx::query_as(
            "SELECT title, version, name, duration_ms, hls_path, dash_path, hls, dash
             FROM title_versions WHERE current ORDER BY title",
        )
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(title).collect()
    }

    /// The current version of one title, whole.
    pub async fn title(&self, id: &TitleId) -> Result<Option<TitleRegistration>, StoreError> {
        let mut tx = self.read.begin().await?;
        let row: Option<TitleColumns> = sqlx::query_as(
            "SELECT title, version, name, duration_ms, hls_path, dash_path, hls, dash
             FROM title_versions WHERE title = $1 AND current",
        )
        .bind(id.to_string())
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row.map(title).transpose()? else {
            return Ok(None);
        };
        let (renditions,): (String,) =
            sqlx::query_as("SELECT renditions FROM title_versions WHERE title = $1 AND current")
                .bind(id.to_string())
                .fetch_one(&mut *tx)
                .await?;
        let objects: Vec<ObjectColumns> = sqlx::query_as(
            "SELECT path, digest, size, media_type, role, rendition, blocks
             FROM objects WHERE title = $1 AND version = $2 ORDER BY path",
        )
        .bind(id.to_string())
        .bind(row.version)
        .fetch_all(&mut *tx)
        .await?;
        Ok(Some(TitleRegistration {
            manifest: TitleManifest {
                format: TITLE_FORMAT,
                id: row.id,
                name: row.name,
                duration_ms: row.duration_ms,
                hls: row.hls_path,
                dash: row.dash_path,
                renditions: codec::from_json("title_versions.renditions", &renditions)?,
                objects: objects.into_iter().map(object).collect::<Result<_, _>>()?,
            },
            hls: row.hls,
            dash: row.dash,
        }))
    }

    /// Every object that is kept, of current and earlier versions.
    pub async fn known_objects(&self) -> Result<Vec<KnownObject>, StoreError> {
        let rows: Vec<KnownColumns> = sqlx::query_as(
            "SELECT o.title, o.version, v.current, o.path, o.digest, o.size
             FROM objects o JOIN title_versions v ON v.title = o.title AND v.version = o.version
             ORDER BY o.title, o.version, o.path",
        )
        .fetch_all(&self.read)
        .await?;
        rows.into_iter()
            .map(|(title, version, current, path, digest, size)| {
                Ok(KnownObject {
                    title: codec::parsed("objects.title", &title)?,
                    version,
                    current,
                    path,
                    digest: codec::digest("objects.digest", &digest)?,
                    size: Bytes(codec::from_db(size)),
                })
            })
            .collect()
    }

    /// One object; of the current version if several have it.
    pub async fn object(&self, digest: &ObjectDigest) -> Result<Option<ObjectInfo>, StoreError> {
        let row: Option<InfoColumns> = sqlx::query_as(
            "SELECT o.title, o.version, o.path, o.digest, o.size, o.media_type, o.blocks
             FROM objects o JOIN title_versions v ON v.title = o.title AND v.version = o.version
             WHERE o.digest = $1 ORDER BY v.current DESC, o.title, o.path LIMIT 1",
        )
        .bind(codec::blob(digest))
        .fetch_optional(&self.read)
        .await?;
        row.map(|(title, version, path, digest, size, media_type, blocks)| {
            Ok(ObjectInfo {
                digest: codec::digest("objects.digest", &digest)?,
                size: Bytes(codec::from_db(size)),
                blocks: codec::digests("objects.blocks", &blocks)?,
                media_type,
                path: format!("/t/{title}/{version}/{path}"),
                title: codec::parsed("objects.title", &title)?,
            })
        })
        .transpose()
    }

    /// The objects of every title's current version.
    pub async fn catalogue(&self) -> Result<Catalogue, StoreError> {
        let rows: Vec<CatalogueColumns> = sqlx::query_as(
            "SELECT o.title, o.version, o.path, o.digest, o.size, o.media_type, o.rendition
             FROM objects o JOIN title_versions v ON v.title = o.title AND v.version = o.version
             WHERE v.current ORDER BY o.title, o.path",
        )
        .fetch_all(&self.read)
        .await?;
        let objects = rows
            .into_iter()
            .map(|(title, version, path, digest, size, media_type, rendition)| {
                Ok(CatalogueObject {
                    digest: codec::digest("objects.digest", &digest)?,
                    size: Bytes(codec::from_db(size)),
                    path: format!("/t/{title}/{version}/{path}"),
                    title: codec::parsed("objects.title", &title)?,
                    media_type,
                    rendition,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(Catalogue { objects })
    }

    /// Forgets earlier versions; a version that is current (again) stays.
    pub async fn drop_versions(&self, versions: &[(TitleId, String)]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for (title, version) in versions {
            sqlx::query("DELETE FROM title_versions WHERE title = $1 AND version = $2 AND NOT current")
                .bind(title.to_string())
                .bind(version.clone())
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }
}

fn title(row: TitleColumns) -> Result<TitleRow, StoreError> {
    let (id, version, name, duration_ms, hls_path, dash_path, hls, dash) = row;
    Ok(TitleRow {
        id: codec::parsed("title_versions.title", &id)?,
        version,
        name,
        duration_ms: codec::from_db(duration_ms),
        hls_path,
        dash_path,
        hls,
        dash,
    })
}

fn object(row: ObjectColumns) -> Result<TitleObject, StoreError> {
    let (path, digest, size, media_type, role, rendition, blocks) = row;
    Ok(TitleObject {
        path,
        role: codec::from_name("objects.role", &role)?,
        rendition,
        media_type,
        size: Bytes(codec::from_db(size)),
        digest: codec::digest("objects.digest", &digest)?,
        blocks: codec::digests("objects.blocks", &blocks)?,
    })
}
