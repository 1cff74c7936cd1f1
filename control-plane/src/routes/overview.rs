//! What the operator's page draws.

use super::Answer;
use crate::{app::Shared, fleet::Appliance, fleet::Fleet};
use axum::{Json, extract::State};
use cdn_types::{
    Bytes, Hour, ObjectDigest, TitleId,
    api::v1::{HourBytes, OutcomeShare, Overview, SteeringOutcome, TitleBytes},
    time::Timestamp,
};
use std::collections::HashMap;

/// Hours that the page looks back.
const HOURS: i64 = 24;
/// Most drawn titles that it lists.
const TOP_TITLES: usize = 10;

/// The fleet at a glance.
#[utoipa::path(get, path = "/v1/overview", tag = "fleet",
    responses((status = 200, description = "Sites, appliances, plan, traffic of 24 hours", body = Overview)))]
pub async fn overview(State(app): State<Shared>) -> Answer<Overview> {
    let now = Timestamp::now();
    let first = Hour(Hour::of(now).0 - HOURS + 1);
    let store = app.store();
    let sent: HashMap<_, _> = store.hourly_bytes(first).await?.into_iter().collect();
    let outcomes: HashMap<_, _> = store.outcomes(first).await?.into_iter().collect();
    let drawn = store.object_bytes(first).await?;
    let plan = store.plans().await?.into_iter().find(|p| p.active);
    let fleet = app.registry().fleet();
    let titles: Vec<_> = fleet.titles().collect();
    Ok(Json(Overview {
        at: now,
        sites: fleet.sites().cloned().collect(),
        appliances: fleet.appliances().map(Appliance::view).collect(),
        plan,
        titles: titles.len() as u64,
        objects: titles.iter().map(|t| t.objects).sum(),
        outcomes: [
            SteeringOutcome::Hit,
            SteeringOutcome::ContentMiss,
            SteeringOutcome::HealthMiss,
            SteeringOutcome::NoSite,
        ]
        .map(|outcome| OutcomeShare {
            outcome,
            sessions: outcomes.get(&outcome).copied().unwrap_or(0),
        })
        .to_vec(),
        hours: (first.0..first.0 + HOURS)
            .map(Hour)
            .map(|hour| HourBytes {
                hour,
                bytes: sent.get(&hour).copied().unwrap_or_default(),
            })
            .collect(),
        top_titles: top_titles(&fleet, drawn),
        steering_url: app.steering_url().map(str::to_owned),
    }))
}

/// An object that several titles share counts for the first of them.
fn top_titles(fleet: &Fleet, drawn: Vec<(ObjectDigest, Bytes)>) -> Vec<TitleBytes> {
    let mut titles: HashMap<&TitleId, u64> = HashMap::new();
    for (object, bytes) in drawn {
        if let Some(title) = fleet.known().title_of(&object) {
            *titles.entry(title).or_default() += bytes.0;
        }
    }
    let mut top: Vec<_> = titles.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
    top.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    top.into_iter()
        .take(TOP_TITLES)
        .map(|(title, bytes)| TitleBytes {
            title: title.clone(),
            name: fleet.title_name(title).unwrap_or(title.as_str()).to_owned(),
            bytes: Bytes(bytes),
        })
        .collect()
}
