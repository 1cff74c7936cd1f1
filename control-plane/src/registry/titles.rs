//! Registering titles, and forgetting versions that nobody lists any more.

use super::{Refusal, Registry, refusal::at_most};
use crate::{
    limits,
    store::{self, KnownObject, TitleRow},
};
use cdn_types::{
    ObjectDigest, TitleId,
    api::v1::{TitleRegistration, TitleSummary},
    plan::Plan,
    title::TitleManifest,
};
use std::{collections::HashSet, sync::Arc};

impl Registry {
    /// Registers a title, or a new version of it. The same again changes nothing.
    pub async fn put_title(
        self: &Arc<Self>,
        id: TitleId,
        title: TitleRegistration,
    ) -> Result<TitleSummary, Refusal> {
        check(&id, &title)?;
        self.unbroken(|this| async move {
            let _turn = this.turn.lock().await;
            this.store.put_title(&title, store::now()).await?;
            let objects = objects(&title.manifest);
            this.apply(|fleet| {
                fleet.put_title(row(title), &objects);
                fleet.titles().find(|t| t.id == id)
            })
            .ok_or(Refusal::NoTitle(id))
        })
        .await
    }

    /// Takes a title away: its version becomes an earlier one that nothing follows.
    pub async fn remove_title(self: &Arc<Self>, id: TitleId) -> Result<(), Refusal> {
        self.unbroken(|this| async move {
            let _turn = this.turn.lock().await;
            if this.fleet().title_name(&id).is_none() {
                return Err(Refusal::NoTitle(id));
            }
            this.store.retire_title(&id).await?;
            this.apply(|fleet| fleet.remove_title(&id));
            tracing::info!(title = %id, "title removed");
            Ok(())
        })
        .await?;
        self.forget_versions().await
    }

    /// Forgets earlier versions of titles none of whose objects is held or listed by a plan that is active or may
    /// become so.
    pub async fn forget_versions(self: &Arc<Self>) -> Result<(), Refusal> {
        if self.fleet().known().former().next().is_none() {
            return Ok(());
        }
        self.unbroken(|this| async move {
            let _turn = this.turn.lock().await;
            let listed = this.listed_objects().await?;
            let gone: Vec<_> = {
                let fleet = this.fleet();
                let is_free = |digest: &ObjectDigest| !listed.contains(digest) && !fleet.is_held(digest);
                fleet
                    .known()
                    .former()
                    .filter_map(|(key, mut digests)| digests.all(is_free).then(|| key.clone()))
                    .collect()
            };
            this.store.drop_versions(&gone).await?;
            this.apply(|fleet| fleet.drop_versions(&gone));
            Ok(())
        })
        .await
    }

    /// Objects of the active plan and of every plan above it.
    async fn listed_objects(&self) -> Result<HashSet<ObjectDigest>, Refusal> {
        let active = self.active.borrow().clone();
        let floor = active.as_ref().map(|p| p.number);
        let mut listed = HashSet::new();
        let mut list = |plan: &Plan| {
            let items = plan.appliances.iter().flat_map(|p| &p.items);
            listed.extend(items.map(|i| i.digest));
        };
        if let Some(plan) = &active {
            list(plan);
        }
        for summary in self.store.plans().await? {
            if Some(summary.number) > floor
                && let Some(plan) = self.store.plan(summary.number).await?
            {
                list(&plan);
            }
        }
        Ok(listed)
    }
}

fn check(id: &TitleId, title: &TitleRegistration) -> Result<(), Refusal> {
    let m = &title.manifest;
    if m.id != *id {
        return Err(Refusal::OtherId {
            path: id.to_string(),
            body: m.id.to_string(),
        });
    }
    if m.name.is_empty() || m.name.chars().count() > limits::TEXT {
        return Err(Refusal::Text {
            what: "manifest.name",
            limit: limits::TEXT,
        });
    }
    at_most("manifest.objects", limits::TITLE_OBJECTS, m.objects.len())?;
    m.check()?;
    for (field, path, text) in [("hls", &m.hls, &title.hls), ("dash", &m.dash, &title.dash)] {
        let found = ObjectDigest::of(text.as_bytes());
        let wanted = m.objects.iter().find(|o| o.path == *path).map(|o| o.digest);
        if let Some(wanted) = wanted.filter(|w| *w != found) {
            return Err(Refusal::ManifestText {
                field,
                path: path.clone(),
                found,
                wanted,
            });
        }
    }
    Ok(())
}

fn row(title: TitleRegistration) -> TitleRow {
    let m = title.manifest;
    TitleRow {
        version: m.version(),
        id: m.id,
        name: m.name,
        duration_ms: m.duration_ms,
        hls_path: m.hls,
        dash_path: m.dash,
        hls: title.hls,
        dash: title.dash,
    }
}

fn objects(manifest: &TitleManifest) -> Vec<KnownObject> {
    let version = manifest.version();
    let known = manifest.objects.iter().map(|o| KnownObject {
        title: manifest.id.clone(),
        version: version.clone(),
        current: true,
        path: o.path.clone(),
        digest: o.digest,
        size: o.size,
    });
    known.collect()
}
