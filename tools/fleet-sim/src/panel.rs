//! A synthetic service as the planner's replay wants it.

use crate::{
    day_curve,
    world::{
        World,
        titles::{Kind, Title},
    },
};
use cdn_types::{ObjectDigest, RegionId, TitleId};
use fill_core::evaluate::panel::{self, Cube, HOURS, KNOWN_UNTIL, Panel, SERVICE_FROM, Spread, TitleFacts};

/// The panel of a world.
pub fn panel(world: &World) -> anyhow::Result<Panel> {
    let setup = &world.setup;
    let titles: Vec<TitleFacts> = world
        .titles
        .iter()
        .enumerate()
        .map(|(i, t)| facts(i, t))
        .collect::<anyhow::Result<_>>()?;
    let regions: Vec<RegionId> = (0..setup.regions)
        .map(|r| RegionId::new(format!("region-{r}")))
        .collect::<Result<_, _>>()?;
    let neighbours = (0..setup.regions).map(|r| {
        let same = |o: &usize| *o != r && o / setup.neighbours() == r / setup.neighbours();
        (0..setup.regions).filter(same).collect()
    });
    let shapes: Vec<[f32; HOURS]> = day_curve::AUDIENCES
        .iter()
        .map(|a| {
            let hours = day_curve::hours(*a);
            std::array::from_fn(|h| hours[(SERVICE_FROM + h) % HOURS] as f32)
        })
        .collect();
    let of: Vec<u8> = world.titles.iter().map(|t| t.audience as u8).collect();
    let days = setup.days() as usize;
    let mut served = Cube::new(days, setup.regions, titles.len());
    let mut known = Cube::new(days, setup.regions, titles.len());
    let mut rates = Cube::new(days, setup.regions, titles.len());
    // Part of a service day that is known on its own evening; the rest is known a day later.
    let evening: Vec<f32> = shapes
        .iter()
        .map(|s| s[..KNOWN_UNTIL - SERVICE_FROM].iter().sum())
        .collect();
    for (day, region) in (0..days).flat_map(|d| (0..setup.regions).map(move |r| (d, r))) {
        let today = world.demand.of(day, region);
        served.of_mut(day, region).copy_from_slice(today);
        rates
            .of_mut(day, region)
            .copy_from_slice(world.expected.of(day, region));
        let before = day.checked_sub(1).map(|d| world.demand.of(d, region));
        for (t, known) in known.of_mut(day, region).iter_mut().enumerate() {
            let evening = evening[usize::from(of[t])];
            *known = evening * today[t] + before.map_or(0.0, |b| (1.0 - evening) * b[t]);
        }
    }
    Ok(Panel {
        first: setup.first,
        objects: titles
            .iter()
            .map(|t| ObjectDigest::of(t.id.as_str().as_bytes()))
            .collect(),
        regions,
        neighbours: neighbours.collect(),
        titles,
        served,
        known,
        rates: Some(rates),
        spread: Spread::Shapes { of, shapes },
        session: crate::world::viewers::SESSION_BYTES,
        lead: panel::LEAD,
        settled: panel::SETTLED,
    })
}

fn facts(index: usize, title: &Title) -> anyhow::Result<TitleFacts> {
    Ok(TitleFacts {
        id: TitleId::new(format!("title-{index:05}"))?,
        size: title.size().max(1),
        kind: match title.kind {
            Kind::Film => panel::Kind::Film,
            Kind::Season => panel::Kind::Season,
            Kind::Episode => panel::Kind::Episode,
        },
        franchise: title.franchise,
        season: title.season,
        episode: title.episode,
        runtime: title.runtime,
        original: title.original,
        global: title.global,
        home: Some(title.home),
        shown: title.shown.clone(),
        expected: title.expected,
    })
}
