//! The unit that is placed: a bundle of a title's objects. Placement knows bundles only by index, size, worth and by
//! what they require: how titles are cut into them is a choice, [`Grouping`].
//!
//! Today steering sends a viewer only to an appliance that holds all objects of the title (a player switches
//! renditions at any moment, and audio is of no use without pictures), so that a part of a title serves nobody and the
//! bundle is the whole title. The finer groupings are for a steering that declares pathways a rendition.

use cdn_types::{
    ObjectDigest, TitleId,
    api::v1::{Catalogue, CatalogueObject},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How titles are cut into bundles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grouping {
    /// A title is one bundle.
    #[default]
    Title,
    /// Sound, text and the smallest video rendition are the first bundle; each larger rendition is a further one, and
    /// is of use only where the one before it is.
    Ladder,
    /// Each object is a bundle of its own, and of use by itself.
    File,
}

/// Why a catalogue is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// There is nothing to place, and a plan of nothing would have appliances drop what they hold.
    #[error("no object; publish a title first")]
    Empty,
    /// One path names two objects.
    #[error("path `{0}` stands twice; each public path names one object")]
    DuplicatePath(String),
    /// The path is not a public path, so no appliance could fetch it.
    #[error("path `{0}` is not a public path (/t/title/version/file)")]
    Path(String),
    /// One digest with two sizes.
    #[error("object {0} has two sizes; one digest has one size")]
    Size(ObjectDigest),
    /// More bytes than can be counted.
    #[error("title {0} is larger than 2^63 bytes")]
    TooLarge(TitleId),
    /// More objects than indices.
    #[error("{0} objects; a plan can choose among {MAX_OBJECTS}")]
    TooMany(usize),
}

/// Most objects of a catalogue: they are counted with 32 bits.
pub const MAX_OBJECTS: usize = 1 << 31;

/// One bundle: a range of [`Bundles::objects`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bundle {
    /// Its first object.
    pub first: u32,
    /// One past its last object.
    pub end: u32,
    /// Bytes of all its objects, at least 1.
    pub size: u64,
    /// Whether it is of use only beside the bundle before it.
    pub needs_previous: bool,
    /// Whether it is its whole title.
    pub whole: bool,
}

/// All bundles, sorted by title, and where each object is.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundles<'a> {
    /// By title, within a title by what requires what.
    pub list: Vec<Bundle>,
    /// The catalogue's objects, by title, bundle and path.
    pub objects: Vec<&'a CatalogueObject>,
    /// Bundle of each object.
    bundle_of: Vec<u32>,
    /// Indices of objects, by digest.
    by_digest: Vec<u32>,
}

impl<'a> Bundles<'a> {
    /// Groups and checks a catalogue, in whatever order its objects come.
    pub fn new(catalogue: &'a Catalogue, grouping: Grouping) -> Result<Self, CatalogueError> {
        let mut objects: Vec<_> = catalogue.objects.iter().collect();
        check_paths(&objects)?;
        objects.sort_by(|a, b| (&a.title, &a.path).cmp(&(&b.title, &b.path)));
        let mut out = Self {
            list: Vec::new(),
            objects: Vec::with_capacity(objects.len()),
            bundle_of: Vec::with_capacity(objects.len()),
            by_digest: Vec::new(),
        };
        for title in objects.chunk_by(|a, b| a.title == b.title) {
            out.add_title(title, grouping)?;
        }
        let digest = |o: &u32| out.objects[*o as usize].digest;
        let mut by_digest: Vec<u32> = (0..).take(out.objects.len()).collect();
        by_digest.sort_unstable_by_key(|o| (digest(o), *o));
        for pair in by_digest.windows(2) {
            let [a, b] = [pair[0], pair[1]].map(|o| out.objects[o as usize]);
            if a.digest == b.digest && a.size != b.size {
                return Err(CatalogueError::Size(a.digest));
            }
        }
        out.by_digest = by_digest;
        Ok(out)
    }

    /// Title of a bundle.
    pub fn title(&self, bundle: u32) -> &'a TitleId {
        &self.objects[self.list[bundle as usize].first as usize].title
    }

    /// Indices of a bundle's objects.
    pub fn range(&self, bundle: u32) -> std::ops::Range<usize> {
        let b = &self.list[bundle as usize];
        b.first as usize..b.end as usize
    }

    /// A bundle's objects.
    pub fn of(&self, bundle: u32) -> &[&'a CatalogueObject] {
        &self.objects[self.range(bundle)]
    }

    /// Size of a bundle.
    pub fn size(&self, bundle: u32) -> u64 {
        self.list[bundle as usize].size
    }

    /// Bundle of an object, by the object's index.
    pub fn bundle_of(&self, object: u32) -> u32 {
        self.bundle_of[object as usize]
    }

    /// Indices of the objects with a digest, rising: identical files of several titles are one object to appliances.
    pub fn with(&self, digest: &ObjectDigest) -> &[u32] {
        let key = |o: &u32| &self.objects[*o as usize].digest;
        let first = self.by_digest.partition_point(|o| key(o) < digest);
        let rest = &self.by_digest[first..];
        &rest[..rest.partition_point(|o| key(o) == digest)]
    }

    /// Bundles of a title, rising; empty if the catalogue does not know it.
    pub fn of_title(&self, title: &TitleId) -> std::ops::Range<u32> {
        let first = self.list.partition_point(|b| self.title_at(b) < title);
        let count = self.list[first..].partition_point(|b| self.title_at(b) == title);
        first as u32..(first + count) as u32
    }

    fn title_at(&self, bundle: &Bundle) -> &TitleId {
        &self.objects[bundle.first as usize].title
    }

    fn add_title(
        &mut self,
        objects: &[&'a CatalogueObject],
        grouping: Grouping,
    ) -> Result<(), CatalogueError> {
        let too_large = || CatalogueError::TooLarge(objects[0].title.clone());
        let rungs = match grouping {
            Grouping::Title => vec![objects.to_vec()],
            Grouping::Ladder => ladder(objects),
            Grouping::File => objects.iter().map(|o| vec![*o]).collect(),
        };
        let (mut of_title, whole) = (0u64, rungs.len() == 1);
        for (n, rung) in rungs.into_iter().enumerate() {
            let size = rung.iter().try_fold(0u64, |sum, o| sum.checked_add(o.size.0));
            let size = size.ok_or_else(too_large)?;
            of_title = of_title.checked_add(size).ok_or_else(too_large)?;
            let first = self.objects.len() as u32;
            self.bundle_of
                .extend(std::iter::repeat_n(self.list.len() as u32, rung.len()));
            self.objects.extend(rung);
            self.list.push(Bundle {
                first,
                end: self.objects.len() as u32,
                size: size.max(1),
                needs_previous: n > 0 && grouping == Grouping::Ladder,
                whole,
            });
        }
        i64::try_from(of_title).map(|_| ()).map_err(|_| too_large())
    }
}

fn check_paths(objects: &[&CatalogueObject]) -> Result<(), CatalogueError> {
    if objects.is_empty() {
        return Err(CatalogueError::Empty);
    }
    if objects.len() > MAX_OBJECTS {
        return Err(CatalogueError::TooMany(objects.len()));
    }
    let mut paths: Vec<&str> = objects.iter().map(|o| o.path.as_str()).collect();
    paths.sort_unstable();
    let plain = |p: &&str| p.strip_prefix("/t/").is_some_and(cdn_types::title::is_plain_path);
    if let Some(path) = paths.iter().find(|p| !plain(p)) {
        return Err(CatalogueError::Path((*path).to_owned()));
    }
    match paths.windows(2).find(|p| p[0] == p[1]) {
        Some(pair) => Err(CatalogueError::DuplicatePath(pair[0].to_owned())),
        None => Ok(()),
    }
}

/// A title's objects (sorted by path) by rung: what is no video and the smallest rendition, then the others by size.
fn ladder<'a>(objects: &[&'a CatalogueObject]) -> Vec<Vec<&'a CatalogueObject>> {
    let (video, mut base): (Vec<_>, Vec<_>) = objects
        .iter()
        .copied()
        .partition(|o| o.media_type.starts_with("video/"));
    let mut renditions: BTreeMap<&str, (u64, Vec<&CatalogueObject>)> = BTreeMap::new();
    for object in video {
        let name = object.rendition.as_deref().unwrap_or(&object.path);
        let (size, list) = renditions.entry(name).or_default();
        *size = size.saturating_add(object.size.0);
        list.push(object);
    }
    let mut renditions: Vec<_> = renditions.into_values().collect();
    renditions.sort_by_key(|(size, _)| *size);
    let mut rungs = renditions.into_iter().map(|(_, objects)| objects);
    base.extend(rungs.next().into_iter().flatten());
    std::iter::once(base).chain(rungs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::Bytes;

    fn object(title: &str, file: &str, size: u64) -> CatalogueObject {
        CatalogueObject {
            digest: ObjectDigest::of(format!("{title}/{file}").as_bytes()),
            size: Bytes(size),
            title: TitleId::new(title).unwrap(),
            path: format!("/t/{title}/v1/{file}"),
            media_type: if file.starts_with('a') {
                "audio/mp4"
            } else {
                "video/mp4"
            }
            .into(),
            rendition: None,
        }
    }

    fn shape(bundles: &Bundles<'_>) -> Vec<(String, u64, usize, bool)> {
        let row = |(n, b): (usize, &Bundle)| {
            let n = n as u32;
            (
                bundles.title(n).to_string(),
                b.size,
                bundles.of(n).len(),
                b.needs_previous,
            )
        };
        bundles.list.iter().enumerate().map(row).collect()
    }

    #[test]
    fn objects_of_a_title_are_one_bundle_in_any_order() {
        let objects = vec![object("b", "x", 5), object("a", "y", 2), object("a", "x", 1)];
        let catalogue = Catalogue { objects };
        let bundles = Bundles::new(&catalogue, Grouping::Title).unwrap();
        assert_eq!(
            shape(&bundles),
            [("a".into(), 3, 2, false), ("b".into(), 5, 1, false)]
        );
        assert_eq!(bundles.with(&ObjectDigest::of(b"b/x")), [2]);
        assert_eq!(bundles.bundle_of(2), 1);
        assert_eq!(bundles.with(&ObjectDigest::of(b"none")), [0u32; 0]);
        assert_eq!(bundles.of_title(&TitleId::new("b").unwrap()), 1..2);
        assert!(bundles.of_title(&TitleId::new("c").unwrap()).is_empty());
    }

    #[test]
    fn a_ladder_begins_with_sound_and_the_smallest_rendition() {
        let mut low = [object("t", "low-1", 10), object("t", "low-2", 11)];
        for part in &mut low {
            part.rendition = Some("v360".into());
        }
        let mut objects = vec![
            object("t", "high", 90),
            object("t", "mid", 40),
            object("t", "audio", 7),
        ];
        objects.extend(low);
        let catalogue = Catalogue { objects };
        let rungs = Bundles::new(&catalogue, Grouping::Ladder).unwrap();
        let t = || "t".to_owned();
        assert_eq!(
            shape(&rungs),
            [(t(), 28, 3, false), (t(), 40, 1, true), (t(), 90, 1, true)]
        );
        let files = Bundles::new(&catalogue, Grouping::File).unwrap();
        assert_eq!(files.list.len(), 5);
        assert!(files.list.iter().all(|b| !b.needs_previous));
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        let refuse = |objects: Vec<CatalogueObject>| {
            Bundles::new(&Catalogue { objects }, Grouping::Title)
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        assert!(refuse(vec![]).contains("publish a title first"));
        let mut other = object("a", "x", 1);
        other.digest = ObjectDigest::of(b"other");
        assert!(refuse(vec![object("a", "x", 1), other]).contains("/t/a/v1/x` stands twice"));
        let mut other = object("a", "y", 2);
        other.digest = object("a", "x", 1).digest;
        assert!(refuse(vec![object("a", "x", 1), other]).contains("two sizes"));
        let mut bad = object("a", "x", 1);
        bad.path = "/t/../x".into();
        assert!(refuse(vec![bad]).contains("not a public path"));
        assert!(refuse(vec![object("a", "x", u64::MAX), object("a", "y", 5)]).contains("larger than"));
    }
}
