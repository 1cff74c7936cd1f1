//! What others publish of a service, as this planner's own files: demand, catalogue, titles, launches.
//!
//! Such data name objects by number and tell neither files nor paths, so each object becomes a title with one file; digests are
//! made of the names and are of no use for fetching.

use crate::output::{self, OutputError};
use cdn_types::{
    Bytes, Hour, ObjectDigest, RegionId, TitleId,
    api::v1::{Catalogue, CatalogueObject},
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    path::Path,
};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Object {
    /// Its size in bytes.
    pub size: u64,
    /// Whether it is a season rather than a film or a clip.
    pub season: bool,
    /// Its playing time in whole minutes; 0 if nobody tells.
    pub minutes: u64,
    /// When viewers could first watch it, if the data tell.
    pub shown: Option<Hour>,
}

/// A service as its publisher tells of it.
#[derive(Debug, Default)]
pub struct Service {
    /// What names begin with: `kion`, `kuairec`, `trace`.
    pub prefix: &'static str,
    /// Objects by the publisher's number.
    pub objects: BTreeMap<u64, Object>,
    /// Requests and bytes drawn, by hour and object. What is told by days stands at noon.
    pub drawn: HashMap<(Hour, u64), (u64, u64)>,
}

impl Service {
    /// An empty one.
    pub fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            ..Self::default()
        }
    }

    /// Adds to what was drawn of an object in an hour.
    pub fn draw(&mut self, hour: Hour, object: u64, requests: u64, bytes: u64) {
        let (known_requests, known_bytes) = self.drawn.entry((hour, object)).or_default();
        *known_requests = known_requests.saturating_add(requests);
        *known_bytes = known_bytes.saturating_add(bytes);
    }

    fn name(&self, number: u64) -> String {
        format!("{}-{number}", self.prefix)
    }
    fn digest(&self, number: u64) -> ObjectDigest {
        ObjectDigest::of(self.name(number).as_bytes())
    }

    /// Writes `demand.csv`, `catalogue.json`, `titles.csv` and `launches.csv` into a folder, which is made if it is not there. The
    /// same data give the same bytes.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path, region: &RegionId) -> Result<(), OutputError> {
        output::make_folder(dir)?;
        output::replace(&dir.join("demand.csv"), self.demand(region).as_bytes())?;
        output::replace(&dir.join("catalogue.json"), &output::json(&self.catalogue()))?;
        output::replace(&dir.join("titles.csv"), self.titles().as_bytes())?;
        output::replace(&dir.join("launches.csv"), self.launches(region).as_bytes())
    }

    fn demand(&self, region: &RegionId) -> String {
        let mut rows: Vec<_> = self.drawn.iter().collect();
        rows.sort_unstable_by_key(|(key, _)| **key);
        let mut text = "hour,region,object,requests,bytes\n".to_owned();
        for ((hour, object), (requests, bytes)) in rows {
            let digest = self.digest(*object);
            let _ = writeln!(text, "{hour},{region},{digest},{requests},{bytes}"); // a string takes everything
        }
        text
    }

    fn catalogue(&self) -> Catalogue {
        let object = |(number, object): (&u64, &Object)| {
            let name = self.name(*number);
            CatalogueObject {
                digest: self.digest(*number),
                size: Bytes(object.size.max(1)),
                path: format!("/t/{name}/imported/media"),
                title: TitleId::new(&name).expect("a short name of letters, digits and a dash is a title id"),
                media_type: "application/octet-stream".into(),
                rendition: None,
            }
        };
        let mut objects: Vec<_> = self.objects.iter().map(object).collect();
        objects.sort_by(|a, b| a.path.cmp(&b.path));
        Catalogue { objects }
    }

    fn titles(&self) -> String {
        let mut text =
            "title,kind,franchise,season,episode,runtime_min,original,global,home,release,bytes\n".to_owned();
        for (index, (number, object)) in self.objects.iter().enumerate() {
            let (kind, season) = if object.season { ("season", 1) } else { ("film", 0) };
            let minutes = object.minutes.min(u64::from(u16::MAX));
            let name = self.name(*number);
            let _ = writeln!(
                text,
                "{name},{kind},{index},{season},0,{minutes},false,true,,,{}",
                object.size
            );
        }
        text
    }

    /// Nobody tells how large a launch is thought to be: all weigh alike.
    fn launches(&self, region: &RegionId) -> String {
        let mut text = "title,region,instant,expected\n".to_owned();
        for (number, object) in &self.objects {
            if let Some(shown) = object.shown {
                let _ = writeln!(text, "{},{region},{shown},1", self.name(*number));
            }
        }
        text
    }
}

/// Bytes of so much playing time.
pub fn bytes_of(seconds: f64, bits_per_second: u64) -> u64 {
    (seconds * bits_per_second as f64 / 8.0).round().max(0.0) as u64
}
