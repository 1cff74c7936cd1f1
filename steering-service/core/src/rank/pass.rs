//! One ranking, step by step.

use super::{DropReason, Dropped, Options, Ranked, Ranking, Tier};
use crate::{
    bits::{self, Bits},
    circuit::{Signal, Verdict},
    index::{ApplianceIx, Client, Index, SiteIx, TitleIx, network},
    key::{ELSEWHERE, FARTHEST, Fields, Key, KeyName, SAME_REGION},
    policy::{
        MedRule,
        rules::{self, Effect, Match},
    },
    rendezvous::{self, Seed},
    routes::{Candidate, Covering},
    spread::{Deal, Hot},
    throughput,
};
use cdn_types::api::v1::SteeringOutcome;
use std::{cmp::Ordering, net::IpAddr};

/// Kilometres that count alike.
const DISTANCE_STEP_KM: f64 = 50.0;

/// Entries that are sorted as quickly as the best of them are found.
const SORTED_WHOLE: usize = 16;

/// Memory that a ranking keeps for the next one.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    seen: Bits,
    matches: Vec<Match>,
}

/// Ranks into an answer that was used before, or [`Ranking::default`]; the client is the same index's.
pub fn rank_into(index: &Index, client: Client, title: TitleIx, options: &Options, ranking: &mut Ranking) {
    // What is asked of the title is asked before anything waits for the client's cover.
    let (holders, title_seed, hot) = (
        index.holders(title),
        index.title_seed(title),
        index.spread().hot(title),
    );
    let Client { ip, covering } = client;
    let own = index.own_site(covering.iter());
    let mut scratch = std::mem::take(&mut ranking.scratch);
    let asn = || {
        covering
            .iter()
            .find_map(|c| index.routes().attributes(&c).origin_as)
    };
    index
        .rules()
        .matching(ip, options.country, asn, &mut scratch.matches);
    let pass = Pass {
        index,
        title,
        options,
        own: own.map(|(site, _)| site),
        licensed: index.rules().licensed(title, options.country),
        holders,
        title_seed,
        hot,
        own_deal: own.map_or(Deal::ByScore, |(site, _)| hot.in_site(site)),
        viewer: viewer(ip, options.session),
        measured: index.measured().of(ip),
        enough: throughput::step(index.policy().enough_throughput),
        in_order: !options.complete && scratch.matches.is_empty() && index.policy().keeps_route_order(),
        matches: &scratch.matches,
    };
    ranking.title = title;
    ranking.site = own.map(|(site, len)| (site, network(ip, len)));
    ranking.licensed = pass.licensed;
    ranking.entries.clear();
    ranking.dropped.clear();
    ranking.reserve.clear();
    scratch.seen.reset(index.appliance_count());
    ranking.outcome = pass.outcome();
    pass.gather(covering, &mut scratch.seen, ranking);
    pass.order(ranking);
    pass.reserve(ranking);
    ranking.scratch = scratch;
}

/// What chooses among the siblings of a hot title.
fn viewer(client: IpAddr, session: Option<u64>) -> u64 {
    session.unwrap_or_else(|| match client {
        IpAddr::V4(a) => u32::from(a).into(),
        IpAddr::V6(a) => {
            let bits = u128::from(a);
            (bits >> 64) as u64 ^ bits as u64
        }
    })
}

struct Pass<'a> {
    index: &'a Index,
    title: TitleIx,
    options: &'a Options<'a>,
    own: Option<SiteIx>,
    licensed: bool,
    holders: &'a [u64],
    title_seed: Seed,
    /// How the title is dealt out.
    hot: Hot<'a>,
    /// The same in the client's own site.
    own_deal: Deal<'a>,
    viewer: u64,
    measured: &'a [(Seed, u8)],
    /// Step of throughput from which on appliances count alike.
    enough: u8,
    matches: &'a [Match],
    /// Whether routes come in the order of their keys, so that what is behind enough better ones need not be looked at.
    in_order: bool,
}

impl Pass<'_> {
    /// How the client's own site stands, whatever else is asked: a site where nobody has the title misses content; one
    /// where somebody has it, but cannot take the viewer, misses health.
    fn outcome(&self) -> SteeringOutcome {
        let Some(own) = self.own else {
            return SteeringOutcome::NoSite;
        };
        let mut outcome = SteeringOutcome::ContentMiss;
        for ix in &self.index.site(own).appliances {
            if bits::has(self.holders, ix.0) {
                if bits::has(self.index.available(), ix.0) {
                    return SteeringOutcome::Hit;
                }
                outcome = SteeringOutcome::HealthMiss;
            }
        }
        outcome
    }

    /// Looks at candidates, nearest tier first, until there are enough.
    fn gather(&self, covering: Covering, seen: &mut Bits, ranking: &mut Ranking) {
        if !self.licensed && !self.options.complete {
            return;
        }
        let mut routes = covering.iter();
        for route in routes.by_ref() {
            if self.is_behind(&route, ranking) {
                self.consider_current(route, routes, seen, ranking);
                return;
            }
            for ix in self.index.reached(&route) {
                self.consider(*ix, Some(&route), seen, ranking);
            }
        }
        if let Some(only) = self.options.only {
            for ix in only {
                self.consider_once(*ix, seen, ranking);
            }
            return;
        }
        for rule in self
            .matches
            .iter()
            .filter(|m| m.action == crate::policy::Action::Pin)
        {
            match rule.target {
                rules::Target::Appliance(ix) => self.consider_once(ix, seen, ranking),
                rules::Target::Site(site) => {
                    for ix in &self.index.site(site).appliances {
                        self.consider_once(*ix, seen, ranking);
                    }
                }
            }
        }
        if let Some(current) = self.options.current {
            self.consider_once(current, seen, ranking);
        }
        if self.has_enough(ranking) {
            return;
        }
        if let Some(own) = self.own {
            self.consider_rest(Some(self.index.region(own)), seen, ranking);
            if self.has_enough(ranking) {
                return;
            }
        }
        self.consider_rest(None, seen, ranking);
    }

    /// Whether nobody farther away is wanted.
    fn has_enough(&self, ranking: &Ranking) -> bool {
        let current = |e: &Ranked| Some(e.appliance) == self.options.current;
        let found = ranking.entries.len() - usize::from(ranking.entries.iter().any(current));
        !self.options.complete && found >= self.options.limit
    }

    /// Whether as many as are wanted have better routes than this one, and so than all after it.
    fn is_behind(&self, route: &Candidate, ranking: &Ranking) -> bool {
        let wanted = self
            .options
            .limit
            .saturating_add(self.options.current.is_some().into());
        let entries = &ranking.entries;
        if wanted == 0 || entries.len() < wanted || !self.in_order {
            return false;
        }
        let mut fields = Fields::default();
        self.route_fields(route, &mut fields);
        entries[wanted - 1].key.better_route(Key::new(&fields))
    }

    /// Looks at the appliance where the session is, if one of the routes leads to it.
    fn consider_current(
        &self,
        first: Candidate,
        rest: impl Iterator<Item = Candidate>,
        seen: &mut Bits,
        ranking: &mut Ranking,
    ) {
        let Some(current) = self.options.current.filter(|ix| !seen.has(ix.0)) else {
            return;
        };
        let leads_there = |route: &Candidate| self.index.reached(route).contains(&current);
        let route = std::iter::once(first).chain(rest).find(leads_there);
        self.consider(current, route.as_ref(), seen, ranking);
    }

    /// Looks at all appliances, or those of a region, that were not looked at yet; without rules, those with more room
    /// come first, and the others only while there are not enough.
    fn consider_rest(&self, region: Option<&[u64]>, seen: &mut Bits, ranking: &mut Ranking) {
        if self.options.complete {
            return self.consider_among(region, |_| u64::MAX, seen, ranking);
        }
        if !self.matches.is_empty() {
            let holders = |word: usize| self.holders[word] & self.index.available()[word];
            return self.consider_among(region, holders, seen, ranking);
        }
        for with_room in self.index.by_headroom() {
            let holders = |word: usize| self.holders[word] & with_room.0[word];
            self.consider_among(region, holders, seen, ranking);
            if self.has_enough(ranking) {
                return;
            }
        }
    }

    fn consider_among(
        &self,
        region: Option<&[u64]>,
        these: impl Fn(usize) -> u64,
        seen: &mut Bits,
        ranking: &mut Ranking,
    ) {
        for word in 0..seen.0.len() {
            let rest = !seen.0[word] & region.map_or(u64::MAX, |region| region[word]) & these(word);
            for bit in bits::ones(word, rest) {
                if (bit as usize) < self.index.appliance_count() {
                    self.consider(ApplianceIx(bit), None, seen, ranking);
                }
            }
        }
    }

    fn consider_once(&self, ix: ApplianceIx, seen: &mut Bits, ranking: &mut Ranking) {
        if !seen.has(ix.0) {
            self.consider(ix, None, seen, ranking);
        }
    }

    /// Takes an appliance into the answer or drops it. One that is looked at again has several routes (its own and its
    /// site's): the better one counts.
    fn consider(&self, ix: ApplianceIx, route: Option<&Candidate>, seen: &mut Bits, ranking: &mut Ranking) {
        if self.options.only.is_some_and(|only| !only.contains(&ix)) {
            return;
        }
        let new = seen.add(ix.0);
        let standing = self.index.standing(ix);
        let effect = match self.matches {
            [] => Effect::default(),
            matches => Effect::of(matches, ix, standing.site),
        };
        let fit = bits::has(self.index.available(), ix.0) && bits::has(self.holders, ix.0);
        if fit && self.failing(ix).is_none() && self.licensed && !effect.blocked {
            let entry = self.entry(ix, route, effect);
            if new {
                ranking.entries.push(entry);
            } else if let Some(before) = ranking.entries.iter_mut().find(|e| e.appliance == ix)
                && entry.key < before.key
            {
                *before = entry;
            }
        } else if new && self.options.complete {
            ranking.dropped.push(Dropped {
                appliance: ix,
                tier: self.tier(standing.site, route),
                reasons: self.reasons(ix, effect),
            });
        }
    }

    /// Who says that an appliance fails, unless this viewer is among those that try it again.
    fn failing(&self, ix: ApplianceIx) -> Option<Signal> {
        let standing = self.index.standing(ix);
        match standing.circuit {
            Verdict::Closed | Verdict::Distrusted { .. } => None,
            Verdict::Open { by } => Some(by),
            Verdict::Trial { permille, by } => {
                let tries = standing.seed.with(self.viewer).0 % 1000 < u64::from(permille);
                (!tries).then_some(by)
            }
        }
    }

    fn reasons(&self, ix: ApplianceIx, effect: Effect) -> Vec<DropReason> {
        let mut reasons = self.index.refusals(ix, self.title);
        if let Some(by) = self.failing(ix) {
            reasons.push(DropReason::Failing { by });
        }
        if effect.blocked {
            reasons.push(DropReason::Blocked);
        }
        if !self.licensed {
            reasons.push(DropReason::NotLicensed);
        }
        reasons
    }

    fn tier(&self, site: SiteIx, route: Option<&Candidate>) -> Tier {
        match (self.own, route) {
            (Some(own), Some(_)) if own == site => Tier::OwnSite,
            (_, Some(_)) => Tier::Routed,
            (Some(own), None) if self.index.site(own).region_ix == self.index.site(site).region_ix => {
                Tier::SameRegion
            }
            (_, None) => Tier::Elsewhere,
        }
    }

    fn entry(&self, ix: ApplianceIx, route: Option<&Candidate>, effect: Effect) -> Ranked {
        let standing = self.index.standing(ix);
        let tier = self.tier(standing.site, route);
        let short = match self.measured.iter().find(|(seed, _)| *seed == standing.seed) {
            Some((_, step)) => self.enough.saturating_sub(*step),
            None => 0, // not known: worth a try
        };
        let mut fields = Fields {
            pinned: effect.pinned,
            class: if tier == Tier::SameRegion {
                SAME_REGION
            } else {
                ELSEWHERE
            },
            prefix_len: 0,
            preference: effect.preference,
            path_len: 0,
            med: 0,
            headroom: standing.headroom as u8,
            short,
            distance: self.distance(standing.site),
        };
        if let Some(route) = route {
            self.route_fields(route, &mut fields);
        }
        Ranked {
            key: Key::new(&fields),
            score: 0.0, // once it is known who needs one
            appliance: ix,
            tier,
            headroom: standing.headroom,
            kept: false,
        }
    }

    fn route_fields(&self, route: &Candidate, fields: &mut Fields) {
        fields.class = self.index.policy().class_place(route.class);
        fields.prefix_len = route.prefix_len;
        fields.path_len = route.path_len;
        fields.med = match self.index.policy().med {
            MedRule::SameNeighbour => route.med_rank.into(),
            MedRule::Always => self.index.routes().attributes(route).med.unwrap_or(0),
            MedRule::Never => 0,
        };
    }

    /// Whether a hot title was dealt to others of its site, and the rendezvous score.
    fn score(&self, ix: ApplianceIx) -> (bool, f64) {
        let standing = self.index.standing(ix);
        let deal = if Some(standing.site) == self.own {
            self.own_deal
        } else {
            self.hot.in_site(standing.site)
        };
        let (part, others) = match deal {
            Deal::ByScore => (None, false),
            Deal::To(sibling) => ((sibling == standing.sibling).then_some(1.0), true),
            Deal::Among(parts) => {
                let own = parts.iter().find(|(sibling, _)| *sibling == ix);
                (own.map(|(_, part)| f64::from(*part)), true)
            }
        };
        match part {
            Some(part) => {
                let title = self.title_seed.with(self.viewer);
                (false, rendezvous::weighted(title, standing.seed, part))
            }
            None => {
                let score = rendezvous::score(self.title_seed, standing.seed, standing.weight);
                (others, score)
            }
        }
    }

    fn distance(&self, site: SiteIx) -> u16 {
        let Some(client) = self.options.location else {
            return 0;
        };
        match self.index.rules().location(site) {
            Some(at) => ((at.distance_km(client) / DISTANCE_STEP_KM) as u16).min(FARTHEST - 1),
            None => FARTHEST,
        }
    }

    fn order(&self, ranking: &mut Ranking) {
        let order = |ix: ApplianceIx| self.index.standing(ix).order;
        let compare = |a: &Ranked, b: &Ranked| -> Ordering {
            a.key
                .cmp(&b.key)
                .then_with(|| order(a.appliance).cmp(&order(b.appliance)))
        };
        let (entries, limit) = (&mut ranking.entries, self.options.limit);
        let is_current = |e: &Ranked| Some(e.appliance) == self.options.current;
        let most = limit.max(1);
        let cut = !self.options.complete && most < entries.len();
        if cut {
            // Only those that may get into the answer need a score.
            let (_, last, _) = entries.select_nth_unstable_by_key(most - 1, |e| e.key);
            let last = last.key;
            entries.retain(|e| e.key.no_worse_before_score(last) || is_current(e));
        }
        for entry in entries.iter_mut() {
            let (no_copy, score) = self.score(entry.appliance);
            (entry.key, entry.score) = (entry.key.with_score(no_copy, score), score);
        }
        if cut && entries.len() > most.max(SORTED_WHOLE) {
            entries.select_nth_unstable_by(most - 1, compare);
            if let Some(at) = entries[most..].iter().position(is_current) {
                entries.swap(most, most + at); // worse than those before it, but may be kept
                entries.truncate(most + 1);
            } else {
                entries.truncate(most);
            }
        }
        entries.sort_unstable_by(compare);
        if let Some(current) = self.options.current {
            self.keep(entries, current);
        }
        entries.truncate(limit);
        ranking
            .dropped
            .sort_unstable_by_key(|d| (d.tier, order(d.appliance)));
    }

    /// Moves where the session is to the front, unless the best has a better route or it is more than the policy's
    /// steps worse.
    fn keep(&self, entries: &mut [Ranked], current: ApplianceIx) {
        let Some(at) = entries.iter().position(|e| e.appliance == current) else {
            return;
        };
        let (best, here) = (&entries[0], &entries[at]);
        let within = |name| {
            here.key.part(name) <= best.key.part(name) + u64::from(self.index.policy().hysteresis_steps)
        };
        if at > 0
            && !best.key.better_route(here.key)
            && within(KeyName::Headroom)
            && within(KeyName::Throughput)
        {
            entries[..=at].rotate_right(1);
            entries[0].kept = true;
        }
    }

    /// Fills up to the least number of entries with appliances that hold the title, but were refused.
    fn reserve(&self, ranking: &mut Ranking) {
        let have = ranking.entries.len() + usize::from(self.index.fallback.is_some());
        let wanted = self
            .index
            .policy()
            .minimum_entries
            .min(self.options.limit.saturating_add(1));
        if have >= wanted || !self.licensed {
            return;
        }
        let refused = |ix: &ApplianceIx| {
            !ranking.entries.iter().any(|e| e.appliance == *ix)
                && self.options.only.is_none_or(|only| only.contains(ix))
        };
        let mut least_bad: Vec<_> = (0..self.holders.len())
            .flat_map(|word| bits::ones(word, self.holders[word]))
            .map(ApplianceIx)
            .filter(refused)
            .filter_map(|ix| {
                let standing = self.index.standing(ix);
                let effect = Effect::of(self.matches, ix, standing.site);
                let reasons = self.reasons(ix, effect);
                let bad = reasons.iter().map(DropReason::badness).max().unwrap_or(0);
                let tellable = !effect.blocked && self.index.appliance(ix).unusable.is_none();
                tellable.then_some((bad, self.tier(standing.site, None), standing.order, ix))
            })
            .collect();
        least_bad.sort_unstable_by_key(|(bad, tier, order, _)| (*bad, *tier, *order));
        let lacking = wanted - have;
        ranking
            .reserve
            .extend(least_bad.into_iter().map(|(.., ix)| ix).take(lacking));
    }
}
