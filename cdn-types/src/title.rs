//! A title as the packer leaves it: `title.json`, beside the objects it names.
//!
//! Public paths. Every object of a title is reached at `/t/{title}/{version}/{path}` on the origin and on every
//! appliance that holds it. The version is derived from the objects' digests, so a path never changes its bytes:
//! packing a title anew gives new paths, and `Cache-Control: immutable` is true.

use crate::{Bytes, ObjectDigest, TitleId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// `format` of the `title.json` that this release reads and writes.
pub const TITLE_FORMAT: u32 = 1;

/// The text of `title.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TitleManifest {
    /// [`TITLE_FORMAT`].
    pub format: u32,
    /// The title's id; also the name of its folder.
    pub id: TitleId,
    /// For people.
    pub name: String,
    /// Playing time in milliseconds.
    pub duration_ms: u64,
    /// Path (within the title) of the HLS multivariant playlist; it is one of the objects.
    pub hls: String,
    /// Path (within the title) of the DASH MPD; it is one of the objects.
    pub dash: String,
    /// Video renditions by falling height, then audio.
    pub renditions: Vec<Rendition>,
    /// Every file of the title, sorted by path.
    pub objects: Vec<TitleObject>,
}

/// One rung of the ladder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Rendition {
    /// Stable id, e.g. `v720` or `a128`: HLS STABLE-VARIANT-ID and DASH Representation id.
    pub id: String,
    /// Video or audio.
    pub kind: RenditionKind,
    /// RFC 6381 codecs text, e.g. `avc1.64001f`.
    pub codecs: String,
    /// Peak bit/s over any segment (HLS BANDWIDTH).
    pub bandwidth: u64,
    /// Mean bit/s (HLS AVERAGE-BANDWIDTH).
    pub average_bandwidth: u64,
    /// Pixels; video only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels; video only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Frames a second, e.g. `25` or `29.97`; video only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_rate: Option<String>,
    /// Samples a second; audio only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    /// Audio only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u32>,
}

/// What a rendition carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum RenditionKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// What a file of a title is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ObjectRole {
    /// A whole rendition (one fMP4 with a global sidx), an init section or a segment.
    Media,
    /// An HLS playlist or a DASH MPD.
    Manifest,
}

/// One file of a title: an immutable object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TitleObject {
    /// Path within the title, `/`-separated, no `.` or `..` parts.
    pub path: String,
    /// What it is.
    pub role: ObjectRole,
    /// Rendition it belongs to, for media and media playlists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendition: Option<String>,
    /// Media type to serve it with.
    pub media_type: String,
    /// Size in bytes.
    pub size: Bytes,
    /// BLAKE3 of the whole.
    pub digest: ObjectDigest,
    /// BLAKE3 of each 1 MiB block in order; the last may be short; empty for an empty object.
    pub blocks: Vec<ObjectDigest>,
}

/// Why a `title.json` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TitleError {
    /// From a later release, or not a title.
    #[error("title.json has format {0}; this release reads format {TITLE_FORMAT}")]
    Format(u32),
    /// A path that leaves the title's folder or cannot be in a URL unescaped.
    #[error(
        "object path `{0}` is not allowed: parts of A-Z a-z 0-9 . _ - separated by /, none of them . or .."
    )]
    Path(String),
    /// Two objects with one path.
    #[error("object path `{0}` stands twice")]
    Duplicate(String),
    /// `hls` or `dash` name no object.
    #[error("`{0}` is named as a manifest but is not among the objects")]
    NoManifest(String),
    /// Block digests do not fit the size.
    #[error("object `{path}` of {size} bytes must have {wanted} block digests, not {found}")]
    Blocks {
        /// Path of the object.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// ceil(size / 1 MiB).
        wanted: u64,
        /// Number given.
        found: u64,
    },
}

impl TitleManifest {
    /// Checks what the types alone cannot: format, paths, manifests, block counts.
    pub fn check(&self) -> Result<(), TitleError> {
        if self.format != TITLE_FORMAT {
            return Err(TitleError::Format(self.format));
        }
        let mut seen = BTreeSet::new();
        for o in &self.objects {
            if !is_plain_path(&o.path) {
                return Err(TitleError::Path(o.path.clone()));
            }
            if !seen.insert(o.path.as_str()) {
                return Err(TitleError::Duplicate(o.path.clone()));
            }
            let (wanted, found) = (o.size.0.div_ceil(crate::BLOCK_SIZE), o.blocks.len() as u64);
            if wanted != found {
                return Err(TitleError::Blocks {
                    path: o.path.clone(),
                    size: o.size.0,
                    wanted,
                    found,
                });
            }
        }
        match [&self.hls, &self.dash]
            .into_iter()
            .find(|m| !seen.contains(m.as_str()))
        {
            Some(missing) => Err(TitleError::NoManifest(missing.clone())),
            None => Ok(()),
        }
    }

    /// Version in the public path: the first 12 hex digits of BLAKE3 over `path NUL digest NUL` of every object in
    /// path order.
    pub fn version(&self) -> String {
        let mut objects: Vec<_> = self.objects.iter().collect();
        objects.sort_by(|a, b| a.path.cmp(&b.path));
        let mut text = Vec::new();
        for o in objects {
            text.extend_from_slice(o.path.as_bytes());
            text.push(0);
            text.extend_from_slice(o.digest.as_bytes());
            text.push(0);
        }
        ObjectDigest::of(&text).short()
    }

    /// `/t/{title}/{version}`: what every public path of this title begins with.
    pub fn public_prefix(&self) -> String {
        format!("/t/{}/{}", self.id, self.version())
    }

    /// Bytes of all objects.
    pub fn size(&self) -> Bytes {
        self.objects.iter().map(|o| o.size).sum()
    }
}

/// Whether a relative path is made of plain parts only: safe below a folder and unescaped in a URL.
pub fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 512
        && path.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn title() -> TitleManifest {
        let object = |path: &str, body: &[u8]| TitleObject {
            path: path.into(),
            role: ObjectRole::Manifest,
            rendition: None,
            media_type: "application/octet-stream".into(),
            size: Bytes(body.len() as u64),
            digest: ObjectDigest::of(body),
            blocks: vec![ObjectDigest::of(body)],
        };
        TitleManifest {
            format: TITLE_FORMAT,
            id: TitleId::new("bunny").unwrap(),
            name: "Bunny".into(),
            duration_ms: 5280,
            hls: "index.m3u8".into(),
            dash: "manifest.mpd".into(),
            renditions: vec![],
            objects: vec![object("index.m3u8", b"a"), object("manifest.mpd", b"b")],
        }
    }

    #[test]
    fn version_follows_the_bytes_not_the_order() {
        let a = title();
        let mut b = title();
        b.objects.reverse();
        assert_eq!(a.version(), b.version());
        b.objects[0].digest = ObjectDigest::of(b"other");
        assert_ne!(a.version(), b.version());
        assert!(a.public_prefix().starts_with("/t/bunny/"));
    }

    #[test]
    fn what_could_leave_the_folder_is_refused() {
        assert_eq!(title().check(), Ok(()));
        for bad in ["../x", "/x", "a//b", "a/./b", "a b", "é", "", ".hidden", "a\\b"] {
            let mut t = title();
            t.objects[0].path = bad.into();
            assert!(matches!(t.check(), Err(TitleError::Path(_))), "{bad}");
        }
        let mut t = title();
        t.objects[0].blocks.clear();
        assert!(matches!(t.check(), Err(TitleError::Blocks { .. })));
        let mut t = title();
        t.dash = "none.mpd".into();
        assert!(matches!(t.check(), Err(TitleError::NoManifest(_))));
    }
}
