//! Hot titles on several siblings.
//!
//! A rendezvous hash alone gives each title to one sibling of a site, and the hottest title of a Zipf catalogue can be
//! more than one sibling's share. So each site's hottest titles are dealt out by their demand: hottest first, each title
//! goes to its siblings in the order of their rendezvous scores, to each no more than is left of its share of the
//! site's demand (its capacity's share). Most titles stay whole on their first sibling; a hot one has a second, or
//! more. Which of a title's siblings serves a viewer is a rendezvous hash of viewer, title and sibling, weighted by
//! what the sibling was dealt.
//!
//! State and load do not enter: a lost sibling keeps its deal, so that only its own viewers move, each title's to
//! its other siblings or to the next by score. Why not copies by heat alone: docs/decisions/steering-index.md.

use crate::{
    bits,
    fleet::{Appliance, ApplianceIx, Site, SiteIx, Title, TitleIx},
    presence::Presence,
    rendezvous,
};
use foldhash::fast::FixedState;
use std::{cmp::Reverse, collections::HashMap};

/// Titles that are dealt out; the rest are so many, and each so small, that their hash balances them.
pub const HOT_TITLES: usize = 1024;
/// A sibling gets no less than this part of a title's demand, unless it is the last: a sliver is a cold copy.
const LEAST_PART: f64 = 0.05;

/// To whom a title is dealt in a site.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Deal<'a> {
    /// To nobody, or to whom it goes by its score.
    ByScore,
    /// All of it to the sibling at a position in the site.
    To(u8),
    /// To some siblings, so much of it to each.
    Among(&'a [(ApplianceIx, f32)]),
}

/// How the hottest titles are dealt out, site by site.
#[derive(Debug, Default)]
pub struct Spread {
    /// Position of each title among the hot ones, or [`COLD`]; empty without demand.
    place: Vec<u16>,
    sites: usize,
    /// For each hot title and site the position of the sibling that has all of it, [`BY_SCORE`] or [`AMONG`]: a byte, since a
    /// ranking reads one of a few hundred thousand.
    whole: Vec<u8>,
    /// The parts of those that are dealt to several, by position in `whole`.
    among: HashMap<u32, Box<[(ApplianceIx, f32)]>, FixedState>,
}

const COLD: u16 = u16::MAX;
const BY_SCORE: u8 = u8::MAX;
const AMONG: u8 = u8::MAX - 1;
const _: () = assert!(HOT_TITLES < COLD as usize);

impl Spread {
    /// Deals the titles out.
    pub fn new(sites: &[Site], appliances: &[Appliance], titles: &[Title], presence: &Presence) -> Self {
        let mut hot: Vec<u32> = (0..titles.len() as u32)
            .filter(|t| titles[*t as usize].demand > 0)
            .collect();
        if hot.is_empty() {
            return Self::default();
        }
        let heat = |t: &u32| (Reverse(titles[*t as usize].demand), titles[*t as usize].seed.0);
        hot.sort_unstable_by_key(heat);
        hot.truncate(HOT_TITLES);
        let mut place = vec![COLD; titles.len()];
        for (at, title) in hot.iter().enumerate() {
            place[*title as usize] = at as u16;
        }
        let mut spread = Self {
            place,
            sites: sites.len(),
            whole: Vec::with_capacity(sites.len() * hot.len()),
            among: HashMap::default(),
        };
        let table = |site| Table::new(site, appliances, titles, presence, &hot);
        let mut tables: Vec<_> = sites.iter().map(table).collect();
        let mut parts = Vec::new();
        for title in &hot {
            for table in &mut tables {
                parts.clear();
                table.deal(&titles[*title as usize], presence.of_title(*title), &mut parts);
                let whole = match parts[..] {
                    [] => BY_SCORE,
                    [(ix, _)] if table.position(ix) < AMONG.into() => table.position(ix) as u8,
                    _ => {
                        spread
                            .among
                            .insert(spread.whole.len() as u32, parts.as_slice().into());
                        AMONG
                    }
                };
                spread.whole.push(whole);
            }
        }
        spread
    }

    /// How a title is dealt out.
    pub fn hot(&self, title: TitleIx) -> Hot<'_> {
        let place = self.place.get(title.0 as usize).copied().unwrap_or(COLD);
        Hot { spread: self, place }
    }
}

/// How a title is dealt out, if it is a hot one.
#[derive(Debug, Clone, Copy)]
pub struct Hot<'a> {
    spread: &'a Spread,
    place: u16,
}

impl<'a> Hot<'a> {
    /// In a site.
    pub fn in_site(&self, site: SiteIx) -> Deal<'a> {
        if self.place == COLD {
            return Deal::ByScore;
        }
        let at = usize::from(self.place) * self.spread.sites + site.0 as usize;
        match self.spread.whole[at] {
            BY_SCORE => Deal::ByScore,
            AMONG => Deal::Among(&self.spread.among[&(at as u32)]),
            sibling => Deal::To(sibling),
        }
    }
}

/// One site's siblings and what is left of their shares.
struct Table<'a> {
    siblings: Vec<(ApplianceIx, &'a Appliance)>,
    left: Vec<f64>,
}

impl<'a> Table<'a> {
    fn new(
        site: &Site,
        appliances: &'a [Appliance],
        titles: &[Title],
        presence: &Presence,
        hot: &[u32],
    ) -> Self {
        let siblings: Vec<_> = site
            .appliances
            .iter()
            .map(|ix| (*ix, &appliances[ix.0 as usize]))
            .collect();
        let capacity: f64 = siblings.iter().map(|(_, a)| a.weight as f64).sum();
        let held = |t: &&u32| {
            siblings
                .iter()
                .any(|(ix, _)| bits::has(presence.of_title(**t), ix.0))
        };
        let demand: f64 = hot
            .iter()
            .filter(held)
            .map(|t| titles[*t as usize].demand as f64)
            .sum();
        let share = |(_, a): &(ApplianceIx, &Appliance)| demand * a.weight as f64 / capacity;
        Self {
            left: siblings.iter().map(share).collect(),
            siblings,
        }
    }

    fn position(&self, appliance: ApplianceIx) -> usize {
        let there = self.siblings.iter().position(|(ix, _)| *ix == appliance);
        there.expect("a site deals among its own appliances")
    }

    /// Adds a title's parts to `parts`; none if it goes by its score.
    fn deal(&mut self, title: &Title, holders: &[u64], parts: &mut Vec<(ApplianceIx, f32)>) {
        let score = |a: &Appliance| rendezvous::score(title.seed, a.seed, a.weight);
        let mut order: Vec<(f64, usize)> = (0..self.siblings.len())
            .filter(|s| bits::has(holders, self.siblings[*s].0.0))
            .map(|s| (score(self.siblings[s].1), s))
            .collect();
        order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let Some((_, first)) = order.first().copied() else {
            return;
        };
        let (begin, whole) = (parts.len(), title.demand as f64);
        let mut rest = whole;
        for (_, s) in &order {
            let part = rest.min(self.left[*s]);
            if part >= LEAST_PART * whole || part == rest {
                parts.push((self.siblings[*s].0, (part / whole) as f32));
                self.left[*s] -= part;
                rest -= part;
            }
            if rest <= 0.0 {
                break;
            }
        }
        if rest > 0.0 {
            // Nobody who holds it has room for it: whoever has most left.
            let by_room = |a: &&(f64, usize), b: &&(f64, usize)| self.left[a.1].total_cmp(&self.left[b.1]);
            let most = order.iter().rev().max_by(by_room).map_or(first, |(_, s)| *s);
            let ix = self.siblings[most].0;
            self.left[most] -= rest;
            match parts[begin..].iter_mut().find(|(a, _)| *a == ix) {
                Some((_, part)) => *part += (rest / whole) as f32,
                None => parts.push((ix, (rest / whole) as f32)),
            }
        }
        if parts[begin..].len() == 1 && parts[begin].0 == self.siblings[first].0 {
            parts.truncate(begin); // as its score has it
        }
    }
}
