//! A service as a nightly forecast sees it: titles with their files, what is known of them, the launch calendar; and its demand
//! history as a [`Panel`] of titles.
//!
//! History counts days that end where knowledge ends. Such a day is both what is known and, once it is over, what came of an earlier
//! decision: known and service days lie on the same hours here, [`History::age`] of the newest one apart. A title's bytes are
//! those of all its files; what several titles share counts for each of them in equal parts.

use crate::{
    evaluate::panel::{Cube, HOURS, Kind, Panel, Spread, TitleFacts},
    history::History,
};
use cdn_types::{Hour, ObjectDigest, RegionId, TitleId, api::v1::Catalogue, time::Date};
use std::collections::BTreeMap;

/// What is known of a title beside catalogue and demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The title.
    pub title: TitleId,
    /// What it is.
    pub kind: Kind,
    /// Number that films and series of one world share.
    pub franchise: u32,
    /// From 1; 0 for a film.
    pub season: u16,
    /// From 1; 0 if all come at once.
    pub episode: u16,
    /// Minutes.
    pub runtime: u16,
    /// The service's own.
    pub original: bool,
    /// Made for all regions.
    pub global: bool,
    /// Region that it was made in.
    pub home: Option<RegionId>,
}

/// One line of the launch calendar.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The title.
    pub title: TitleId,
    /// Where it is shown.
    pub region: RegionId,
    /// From when on.
    pub instant: Hour,
    /// Weight that is expected of it, in units of its own, the same for all titles.
    pub expected: f64,
    /// The last day on which it must be at the region's sites, whatever it is worth; none if that is for the forecast to say.
    pub pinned_until: Option<Date>,
}

/// One file of a title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The object.
    pub object: ObjectDigest,
    /// Its bytes, at least 1.
    pub size: u64,
    /// Index among all rungs: files of one rung are drawn alike.
    pub rung: usize,
}

/// Titles, files and calendar.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    titles: Vec<TitleFacts>,
    homes: Vec<Option<RegionId>>,
    files: Vec<Vec<File>>,
    /// Title and file of each object, by digest.
    places: Vec<(ObjectDigest, u32, u32)>,
    launches: Vec<Launch>,
    rungs: usize,
    basis: ObjectDigest,
}

impl Service {
    /// From the catalogue and what else is known; what names no title of the catalogue does not count, and of lines that name
    /// one title and region the last one does.
    pub fn new(catalogue: &Catalogue, facts: &[Facts], launches: &[Launch]) -> Self {
        let titles = titles(catalogue);
        let index: BTreeMap<TitleId, usize> = titles
            .iter()
            .enumerate()
            .map(|(i, t)| (t.id.clone(), i))
            .collect();
        let mut service = Self {
            homes: vec![None; titles.len()],
            files: vec![Vec::new(); titles.len()],
            places: Vec::with_capacity(catalogue.objects.len()),
            launches: launches
                .iter()
                .filter(|l| index.contains_key(&l.title))
                .cloned()
                .collect(),
            rungs: 0,
            basis: basis(facts, launches),
            titles,
        };
        for facts in facts {
            if let Some(t) = index.get(&facts.title) {
                facts.describe(&mut service.titles[*t]);
                service.homes[*t].clone_from(&facts.home);
            }
        }
        service.add_files(catalogue, &index);
        service
    }

    fn add_files(&mut self, catalogue: &Catalogue, index: &BTreeMap<TitleId, usize>) {
        let mut objects: Vec<_> = catalogue.objects.iter().collect();
        objects.sort_by(|a, b| (&a.title, b.size, &a.path).cmp(&(&b.title, a.size, &b.path)));
        let mut rungs: BTreeMap<(&str, usize), usize> = BTreeMap::new();
        for files in objects.chunk_by(|a, b| a.title == b.title) {
            let t = index[&files[0].title];
            let mut ranks: BTreeMap<&str, usize> = BTreeMap::new();
            for object in files {
                // Renditions are alike by name; what has none, by its rank among the files of its type.
                let key = match &object.rendition {
                    Some(name) => (name.as_str(), usize::MAX),
                    None => {
                        let rank = ranks.entry(&object.media_type).or_default();
                        *rank += 1;
                        (object.media_type.as_str(), *rank)
                    }
                };
                let next = rungs.len();
                let rung = *rungs.entry(key).or_insert(next);
                self.places
                    .push((object.digest, t as u32, self.files[t].len() as u32));
                self.files[t].push(File {
                    object: object.digest,
                    size: object.size.0.max(1),
                    rung,
                });
            }
        }
        self.rungs = rungs.len();
        self.places.sort_unstable();
    }

    /// Titles, by id.
    pub fn titles(&self) -> &[TitleFacts] {
        &self.titles
    }
    /// A title's index.
    pub fn title(&self, id: &TitleId) -> Option<usize> {
        self.titles.binary_search_by(|t| t.id.cmp(id)).ok()
    }
    /// A title's files, the largest first.
    pub fn files(&self, title: usize) -> &[File] {
        &self.files[title]
    }
    /// Number of rungs.
    pub fn rungs(&self) -> usize {
        self.rungs
    }
    /// Title and file of each place that an object has.
    pub fn places(&self, object: &ObjectDigest) -> &[(ObjectDigest, u32, u32)] {
        let first = self.places.partition_point(|p| p.0 < *object);
        let rest = &self.places[first..];
        &rest[..rest.partition_point(|p| p.0 == *object)]
    }
    /// BLAKE3 over facts and calendar.
    pub fn basis(&self) -> ObjectDigest {
        self.basis
    }

    /// The history by title, to plan the day after it: day [`Past::day`](crate::evaluate::panel::Past::day) =
    /// [`History::days`]' number. None if no day is known.
    pub fn panel(&self, history: &History) -> Option<Panel> {
        let (days, lead) = (history.days().len(), history.lead()?);
        let regions: Vec<RegionId> = history.regions().cloned().collect();
        let mut known = Cube::new(days, regions.len(), self.titles.len());
        let mut all = 0.0;
        for (r, region) in regions.iter().enumerate() {
            for (object, series) in history.objects(region) {
                let places = self.places(object);
                for (back, bytes) in series.iter().enumerate().filter(|(_, b)| **b > 0) {
                    let part = *bytes as f64 / places.len().max(1) as f64;
                    for (_, t, _) in places {
                        known.of_mut(days - 1 - back, r)[*t as usize] += part as f32;
                        all += part;
                    }
                }
            }
        }
        Some(Panel {
            first: earlier(history.planned(), days),
            neighbours: (0..regions.len())
                .map(|r| (0..regions.len()).filter(|o| *o != r).collect())
                .collect(),
            titles: self.titles_in(history, &regions),
            objects: self
                .titles
                .iter()
                .map(|t| ObjectDigest::of(t.id.as_str().as_bytes()))
                .collect(),
            served: known.without_first(lead - 1),
            known,
            spread: Spread::Shapes {
                of: vec![0; self.titles.len()],
                shapes: vec![[1.0 / HOURS as f32; HOURS]],
            },
            session: self.session(all),
            rates: None,
            lead,
            settled: lead,
            regions,
        })
    }

    /// Titles with region indices and the days on which the calendar has them shown.
    fn titles_in(&self, history: &History, regions: &[RegionId]) -> Vec<TitleFacts> {
        let index = |region: &RegionId| regions.binary_search(region).ok();
        let mut titles = self.titles.clone();
        for (title, home) in titles.iter_mut().zip(&self.homes) {
            title.home = home.as_ref().and_then(index);
            title.shown = vec![None; regions.len()];
        }
        for launch in &self.launches {
            if let (Some(t), Some(r)) = (self.title(&launch.title), index(&launch.region)) {
                titles[t].shown[r] = history.day_of(launch.instant);
                titles[t].expected = launch.expected.max(0.0);
            }
        }
        titles
    }

    /// About what one viewer draws of one title: some of its bytes, of which most are of renditions that he does not watch.
    fn session(&self, all: f64) -> f64 {
        let mut sizes: Vec<u64> = self.titles.iter().map(|t| t.size).collect();
        sizes.sort_unstable();
        let median = sizes.get(sizes.len() / 2).copied().unwrap_or(1) as f64;
        (median / SESSIONS_A_TITLE)
            .min(SESSION_BYTES)
            .min(all.max(1.0))
            .max(1.0)
    }
}

/// Bytes that a session draws at most, as far as a forecast is concerned.
const SESSION_BYTES: f64 = 1e9;
/// Of a title's bytes, all renditions together, a session draws about one part in so many.
const SESSIONS_A_TITLE: f64 = 8.0;

impl Facts {
    /// Writes what is known into a title; its home is a matter of regions.
    pub fn describe(&self, title: &mut TitleFacts) {
        title.kind = self.kind;
        title.franchise = self.franchise;
        title.season = self.season;
        title.episode = self.episode;
        title.runtime = self.runtime;
        title.original = self.original;
        title.global = self.global;
    }
}

/// The catalogue's titles, by id, with nothing known but their size. A title that no facts describe belongs to no franchise: it
/// has a number that none of theirs is likely to be.
pub fn titles(catalogue: &Catalogue) -> Vec<TitleFacts> {
    let mut sizes: BTreeMap<&TitleId, u64> = BTreeMap::new();
    for object in &catalogue.objects {
        let size = sizes.entry(&object.title).or_default();
        *size = size.saturating_add(object.size.0);
    }
    let title = |(i, (id, size)): (u32, (&TitleId, u64))| TitleFacts {
        id: id.clone(),
        size: size.max(1),
        kind: Kind::Film,
        franchise: u32::MAX - i,
        season: 0,
        episode: 0,
        runtime: 0,
        original: false,
        global: true,
        home: None,
        shown: Vec::new(),
        expected: 0.0,
    };
    (0u32..).zip(sizes).map(title).collect()
}

fn earlier(date: Date, days: usize) -> Date {
    let days = i64::try_from(days).unwrap_or(i64::MAX);
    date.saturating_sub(jiff::Span::new().try_days(days).unwrap_or_default())
}

fn basis(facts: &[Facts], launches: &[Launch]) -> ObjectDigest {
    let mut hasher = blake3::Hasher::new();
    for facts in facts {
        hasher.update(format!("{facts:?}\n").as_bytes());
    }
    for launch in launches {
        hasher.update(format!("{launch:?}\n").as_bytes());
    }
    ObjectDigest::from_bytes(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::{
        Bytes,
        api::v1::{CatalogueObject, DemandRow},
    };

    fn object(title: &str, file: &str, size: u64) -> CatalogueObject {
        CatalogueObject {
            digest: ObjectDigest::of(file.as_bytes()),
            size: Bytes(size),
            title: TitleId::new(title).unwrap(),
            path: format!("/t/{title}/v1/{file}"),
            media_type: "video/mp4".into(),
            rendition: None,
        }
    }
    fn row(hour: &str, file: &str, bytes: u64) -> DemandRow {
        DemandRow {
            hour: hour.parse().unwrap(),
            region: RegionId::new("r").unwrap(),
            object: ObjectDigest::of(file.as_bytes()),
            requests: 1,
            bytes: Bytes(bytes),
        }
    }

    #[test]
    fn a_titles_bytes_are_its_files_and_shared_files_are_parted() {
        let objects = vec![
            object("a", "a1", 10),
            object("a", "both", 4),
            object("b", "both", 4),
        ];
        let service = Service::new(&Catalogue { objects }, &[], &[]);
        let rows = [
            row("2026-11-21T12Z", "a1", 1),
            row("2026-11-22T12Z", "a1", 7),
            row("2026-11-22T13Z", "both", 6),
            row("2026-11-22T14Z", "unknown", 100),
            row("2026-11-22T23Z", "a1", 1),
        ];
        let history = History::before("2026-11-23".parse().unwrap(), &rows);
        let panel = service.panel(&history).unwrap();
        assert_eq!((panel.lead, panel.known.days()), (1, 2));
        assert_eq!(panel.known.of(1, 0), [11.0, 3.0]);
        assert_eq!(panel.known.of(0, 0), [1.0, 0.0]);
        assert_eq!(panel.date(2), history.planned());
        // The days that are known are the days that came.
        assert_eq!(panel.past(2).outcome(1, 0), Some(&[11.0, 3.0][..]));
        assert_eq!(panel.past(1).outcome(1, 0), None);
        assert_eq!(panel.past(2).known_date(1), "2026-11-22".parse().unwrap());
    }

    #[test]
    fn what_is_launched_after_knowledge_ends_is_announced_for_the_planned_day() {
        let launch = |title: &str, instant: &str| Launch {
            title: TitleId::new(title).unwrap(),
            region: RegionId::new("r").unwrap(),
            instant: instant.parse().unwrap(),
            expected: 2.0,
            pinned_until: None,
        };
        let objects = ["a", "b", "c", "d"].map(|t| object(t, t, 10)).to_vec();
        let launches = [
            launch("a", "2026-11-20T12Z"),
            launch("b", "2026-11-22T08Z"),
            launch("c", "2026-11-23T20Z"),
            launch("d", "2026-11-24T20Z"),
        ];
        let service = Service::new(&Catalogue { objects }, &[], &launches);
        // Knowledge ends at one o'clock in the night before the day before.
        let rows = [row("2026-11-18T01Z", "a", 1), row("2026-11-22T00Z", "a", 1)];
        let history = History::before("2026-11-23".parse().unwrap(), &rows);
        let panel = service.panel(&history).unwrap();
        let planned = history.days().len() as i64;
        assert_eq!((panel.lead, planned), (2, 4));
        let shown: Vec<i64> = panel
            .titles
            .iter()
            .map(|t| t.shown[0].unwrap() - planned)
            .collect();
        assert_eq!(shown, [-3, -1, 0, 1]);
        // Demand told by days stands in one hour of each, and tells of all of it.
        let rows = ["2026-11-21T12Z", "2026-11-22T12Z"].map(|hour| row(hour, "a", 1));
        let by_days = History::before("2026-11-23".parse().unwrap(), &rows);
        let day_of =
            |hour: &str| by_days.day_of(hour.parse().unwrap()).unwrap() - by_days.days().len() as i64;
        assert_eq!((day_of("2026-11-22T20Z"), day_of("2026-11-23T20Z")), (-1, 0));
        // What came of a night is known two nights later.
        assert_eq!(panel.past(4).outcome(2, 0), Some(panel.known.of(3, 0)));
        assert_eq!(panel.past(4).outcome(3, 0), None);
    }

    #[test]
    fn rungs_are_renditions_by_name_and_other_files_by_rank() {
        let mut objects = vec![object("a", "a1", 10), object("a", "a2", 20), object("b", "b1", 5)];
        for title in ["a", "b"] {
            let mut sound = object(title, &format!("{title}-sound"), 1);
            sound.rendition = Some("a128".into());
            objects.push(sound);
        }
        let service = Service::new(&Catalogue { objects }, &[], &[]);
        let rungs = |t: usize| service.files(t).iter().map(|f| f.rung).collect::<Vec<_>>();
        assert_eq!((rungs(0), rungs(1)), (vec![0, 1, 2], vec![0, 2]));
        assert_eq!(service.rungs(), 3);
    }
}
