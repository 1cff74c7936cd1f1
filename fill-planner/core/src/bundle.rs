//! The unit that is placed: a title's bundle of objects. Steering sends a viewer only to an appliance that holds all
//! objects of the title (a player switches renditions at any moment, and audio is of no use without pictures), so
//! a part of a title on an appliance serves nobody. Placement knows bundles only by index, size and worth: a finer
//! unit, when steering can use one, is another way of grouping.

use cdn_types::{
    ObjectDigest, TitleId,
    api::v1::{Catalogue, CatalogueObject},
};
use std::collections::BTreeMap;

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
}

/// One title's objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle<'a> {
    /// The title.
    pub title: &'a TitleId,
    /// Its objects by path.
    pub objects: Vec<&'a CatalogueObject>,
    /// Bytes of all objects, at least 1.
    pub size: u64,
}

/// All bundles, sorted by title, and where each object is.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundles<'a> {
    /// Sorted by title.
    pub list: Vec<Bundle<'a>>,
    /// Bundles that an object belongs to (identical files of several titles are one object).
    of_object: BTreeMap<ObjectDigest, Vec<usize>>,
}

impl<'a> Bundles<'a> {
    /// Groups and checks a catalogue, in whatever order its objects come.
    pub fn new(catalogue: &'a Catalogue) -> Result<Self, CatalogueError> {
        if catalogue.objects.is_empty() {
            return Err(CatalogueError::Empty);
        }
        let mut by_title: BTreeMap<&TitleId, BTreeMap<&str, &CatalogueObject>> = BTreeMap::new();
        let mut sizes = BTreeMap::new();
        let mut paths = std::collections::BTreeSet::new();
        for object in &catalogue.objects {
            let plain = object.path.strip_prefix("/t/");
            if !plain.is_some_and(cdn_types::title::is_plain_path) {
                return Err(CatalogueError::Path(object.path.clone()));
            }
            if *sizes.entry(object.digest).or_insert(object.size) != object.size {
                return Err(CatalogueError::Size(object.digest));
            }
            if !paths.insert(object.path.as_str()) {
                return Err(CatalogueError::DuplicatePath(object.path.clone()));
            }
            by_title
                .entry(&object.title)
                .or_default()
                .insert(&object.path, object);
        }
        let mut list = Vec::with_capacity(by_title.len());
        let mut of_object: BTreeMap<ObjectDigest, Vec<usize>> = BTreeMap::new();
        for (title, objects) in by_title {
            let objects: Vec<_> = objects.into_values().collect();
            let size = objects
                .iter()
                .try_fold(0u64, |sum, o| sum.checked_add(o.size.0))
                .filter(|s| i64::try_from(*s).is_ok())
                .ok_or_else(|| CatalogueError::TooLarge(title.clone()))?;
            for object in &objects {
                let bundles = of_object.entry(object.digest).or_default();
                if bundles.last() != Some(&list.len()) {
                    bundles.push(list.len());
                }
            }
            list.push(Bundle {
                title,
                objects,
                size: size.max(1),
            });
        }
        Ok(Self { list, of_object })
    }

    /// Bundles that hold an object, rising; none if the catalogue does not know it.
    pub fn with(&self, object: &ObjectDigest) -> &[usize] {
        self.of_object.get(object).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use cdn_types::Bytes;

    pub(crate) fn object(title: &str, file: &str, size: u64) -> CatalogueObject {
        CatalogueObject {
            digest: ObjectDigest::of(format!("{title}/{file}").as_bytes()),
            size: Bytes(size),
            title: TitleId::new(title).unwrap(),
            path: format!("/t/{title}/v1/{file}"),
            media_type: "video/mp4".into(),
            rendition: None,
        }
    }

    #[test]
    fn objects_of_a_title_are_one_bundle_in_any_order() {
        let objects = vec![object("b", "x", 5), object("a", "y", 2), object("a", "x", 1)];
        let catalogue = Catalogue { objects };
        let bundles = Bundles::new(&catalogue).unwrap();
        let seen: Vec<_> = bundles
            .list
            .iter()
            .map(|b| (b.title.as_str(), b.size, b.objects.len()))
            .collect();
        assert_eq!(seen, [("a", 3, 2), ("b", 5, 1)]);
        assert_eq!(bundles.with(&ObjectDigest::of(b"b/x")), [1]);
        assert_eq!(bundles.with(&ObjectDigest::of(b"none")), [0usize; 0]);
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        let refuse = |objects: Vec<CatalogueObject>| {
            Bundles::new(&Catalogue { objects })
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
