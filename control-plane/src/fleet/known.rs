//! Every object that is kept, of current and earlier versions, by its public path and by its digest.

use crate::store::KnownObject;
use cdn_types::{Bytes, ObjectDigest, TitleId};
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Default)]
struct Version {
    current: bool,
    objects: HashMap<String, (ObjectDigest, Bytes)>,
}

/// Objects by public path and by digest.
#[derive(Debug, Default)]
pub struct Known {
    versions: BTreeMap<(TitleId, String), Version>,
    titles: HashMap<ObjectDigest, TitleId>,
}

impl Known {
    /// Adds one object.
    pub fn insert(&mut self, object: &KnownObject) {
        let key = (object.title.clone(), object.version.clone());
        let version = self.versions.entry(key).or_default();
        version.current = object.current;
        version
            .objects
            .insert(object.path.clone(), (object.digest, object.size));
        self.titles
            .entry(object.digest)
            .or_insert_with(|| object.title.clone());
    }

    /// Notes that the title's versions are no longer current; the caller then inserts the new one.
    pub fn retire(&mut self, title: &TitleId) {
        for ((id, _), version) in &mut self.versions {
            if id == title {
                version.current = false;
            }
        }
    }

    /// Forgets versions.
    pub fn drop_versions(&mut self, gone: &[(TitleId, String)]) {
        for key in gone {
            self.versions.remove(key);
        }
        let versions = &self.versions;
        let kept = versions.iter().flat_map(|((title, _), v)| {
            v.objects
                .values()
                .map(move |(digest, _)| (*digest, title.clone()))
        });
        self.titles = kept.collect();
    }

    /// Digest and size of the object at a public path.
    pub fn at(&self, path: &str) -> Option<(ObjectDigest, Bytes)> {
        let mut parts = path.strip_prefix("/t/")?.splitn(3, '/');
        let title = TitleId::new(parts.next()?).ok()?;
        let key = (title, parts.next()?.to_owned());
        self.versions.get(&key)?.objects.get(parts.next()?).copied()
    }

    /// The title that an object belongs to.
    pub fn title_of(&self, digest: &ObjectDigest) -> Option<&TitleId> {
        self.titles.get(digest)
    }

    /// Number of different objects.
    pub fn len(&self) -> usize {
        self.titles.len()
    }

    /// Number of objects of one version.
    pub fn count(&self, title: &TitleId, version: &str) -> u64 {
        self.versions
            .get(&(title.clone(), version.to_owned()))
            .map_or(0, |v| v.objects.len() as u64)
    }

    /// Versions that are no longer current, with the digests of their objects.
    pub fn former(&self) -> impl Iterator<Item = (&(TitleId, String), impl Iterator<Item = &ObjectDigest>)> {
        self.versions
            .iter()
            .filter(|(_, v)| !v.current)
            .map(|(key, v)| (key, v.objects.values().map(|(digest, _)| digest)))
    }
}
