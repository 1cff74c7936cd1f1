//! The appliance's objects: what is on the disk, under which paths it is served, and what may go.
//!
//! An object is offered only while it lies whole under its digest, has a path, and nothing spoke against it since it
//! was verified. The send path asks by path and never waits: it reads one immutable map and one flag. Everything
//! that changes goes through one lock that the send path never takes, and changes the disk first, so that a crash at
//! any point leaves either the state before or the state after.

pub mod demand;
pub mod drives;
pub mod index;
pub mod keeper;
pub mod layout;
mod leave;
mod open;
pub mod partial;
mod room;

use crate::{
    drive::Drive,
    namespace::{
        Found, Namespace, Record,
        heat::{Heat, Warmth},
    },
};
use arc_swap::ArcSwap;
use cdn_types::{Bytes, Hour, ObjectDigest, plan::PlanItem, time::Timestamp};
use demand::DemandTables;
use drives::{Memory, Place};
use index::{Index, IndexError};
use keeper::Hot;
use layout::{Layout, RootLock};
use oca_core::hot_set::{Expected, hot_set};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};
use tokio::sync::Notify;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk.
    #[error("{path}: {why}", path = .path.display())]
    Disk {
        /// Where.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// The index is damaged.
    #[error("{path}: {why}; remove the file to start with an empty index: the plan names the objects again", path = .path.display())]
    Index {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: IndexError,
    },
}

/// Why an object could not be opened for filling.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The storage budget or the disk is full.
    #[error("no room for object {digest} of {size}: {why}", digest = .digest.short())]
    Full {
        /// The object.
        digest: ObjectDigest,
        /// Its size.
        size: Bytes,
        /// Which limit was met.
        why: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// What the disk may be used for.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Most bytes of objects, whole and partial.
    pub storage: Bytes,
    /// Bytes of the file system that stay free.
    pub min_free: Bytes,
}

/// One object as the send path sees it.
#[derive(Debug)]
struct Object {
    digest: ObjectDigest,
    /// Which drive it lies on, and its file there; set before it is offered.
    placed: OnceLock<(usize, Arc<Path>)>,
    /// Verified size; set before it is offered.
    size: AtomicU64,
    /// Which verification offers it, by a number that no other has; 0 = it is not offered.
    offered: AtomicU64,
    heat: Arc<Heat>,
}

impl Object {
    fn is_offered(&self) -> bool {
        self.offered.load(Acquire) > 0
    }

    /// Whether it lies, or may come to lie, on this drive.
    fn may_be_on(&self, drive: usize) -> bool {
        self.placed.get().is_none_or(|(on, _)| *on == drive)
    }
}

/// What the send path reads.
#[derive(Debug, Default)]
struct Routes {
    paths: HashMap<String, Route>,
    objects: HashMap<ObjectDigest, Arc<Object>>,
}

#[derive(Debug)]
struct Route {
    object: Arc<Object>,
    media_type: Arc<str>,
}

/// What is known of an object on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// Verified when it was put in place.
    Held,
    /// It lies there, but under no path: it is verified before it is offered.
    Unverified,
}

#[derive(Debug, Default)]
struct State {
    index: Index,
    listed: BTreeSet<ObjectDigest>,
    plan_drops: Vec<ObjectDigest>,
    /// What the plan expects of each object; absent without a plan.
    expected: Option<BTreeMap<ObjectDigest, Expected>>,
    on_disk: BTreeMap<ObjectDigest, (Bytes, Disk)>,
    /// Room taken by partial objects.
    partial: BTreeMap<ObjectDigest, Bytes>,
    /// Which drive each of these objects, whole or partial, lies on.
    on: BTreeMap<ObjectDigest, usize>,
}

/// The appliance's store; see the module.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    /// The drives; the root itself if there are no others.
    places: Vec<Place>,
    /// What is remembered of drives; absent if the root is the only one.
    memory: Option<Mutex<Memory>>,
    budget: Budget,
    routes: ArcSwap<Routes>,
    state: Mutex<State>,
    /// Grows with every change of what is offered.
    generation: AtomicU64,
    suspects: Mutex<BTreeSet<ObjectDigest>>,
    /// Objects that went with their drive.
    lost: Mutex<BTreeSet<ObjectDigest>>,
    suspected: Notify,
    /// Notified when the plan, or what is offered, changed.
    heat_changed: Notify,
    /// Counters of the send path.
    pub demand: DemandTables,
    /// Absent while another process may write; changed under the lock of `state`.
    lock: Mutex<Option<RootLock>>,
}

impl Store {
    /// Lets another process write: from here on nothing is filled. The fill must have ended.
    pub fn let_go(&self) {
        let _state = self.state();
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Takes the folder again.
    pub fn take_again(&self) -> io::Result<()> {
        let lock = self.layout.lock()?;
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        Ok(())
    }

    fn is_ours(&self) -> bool {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What was doubted has been marked for verification.
    fn trust_drives(&self) {
        let Some(memory) = &self.memory else { return };
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let doubted = memory
            .drives
            .iter_mut()
            .filter(|d| d.doubted && d.ejected.is_none());
        doubted.for_each(|d| d.doubted = false);
        self.save_memory(&memory);
    }

    fn save_memory(&self, memory: &Memory) {
        if let Err(e) = memory.save(&self.layout.drives()) {
            tracing::warn!(error = %e, "cannot write what is remembered of drives");
        }
    }

    /// Where the store's state lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The drives; the root itself if there are no others.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Whether a drive can be given up without giving up everything.
    pub fn has_drives(&self) -> bool {
        self.memory.is_some()
    }

    /// Where an object lies, whole or partial.
    pub fn layout_of(&self, digest: &ObjectDigest) -> &Layout {
        &self.place(&self.state(), digest).layout
    }

    fn place(&self, state: &State, digest: &ObjectDigest) -> &Place {
        // An object that lies nowhere is looked for, in vain, on the first.
        &self.places[state.on.get(digest).copied().unwrap_or(0)]
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a plan: its paths, what it lists, and in which order it would drop. Partial objects that it does
    /// not list are removed; nothing that is held is.
    pub fn adopt(&self, items: &[PlanItem], drops: &[ObjectDigest]) -> io::Result<()> {
        let mut state = self.state();
        let listed: BTreeSet<_> = items.iter().map(|i| i.digest).collect();
        let mut index = state.index.clone();
        index.merge(items);
        index
            .paths
            .retain(|_, e| listed.contains(&e.digest) || state.on_disk.contains_key(&e.digest));
        if index != state.index {
            state.index = index;
            self.save_index(&state);
        }
        state.listed = listed;
        state.plan_drops = drops.to_vec();
        state.expected = Some(expected(items));
        let stale: Vec<_> = state
            .partial
            .keys()
            .copied()
            .filter(|d| !state.listed.contains(d))
            .collect();
        self.rebuild_routes(&state); // first of all: a partial that cannot be removed must not keep back the plan
        for digest in stale {
            partial::remove(&self.place(&state, &digest).layout, &digest)?;
            state.partial.remove(&digest);
            state.on.remove(&digest);
        }
        Ok(())
    }

    /// A full disk may refuse this. Objects that the old index does not name are verified after a restart before
    /// they are offered; objects that it names and that are gone do no harm.
    fn save_index(&self, state: &State) {
        if let Err(e) = state.index.save(&self.layout.index()) {
            tracing::warn!(error = %e, "cannot write the path index");
        }
    }

    fn rebuild_routes(&self, state: &State) {
        let before = self.routes.load();
        let mut routes = Routes::default();
        for (path, entry) in &state.index.paths {
            let object = routes.objects.entry(entry.digest).or_insert_with(|| {
                let on = state.on.get(&entry.digest);
                let known = before.objects.get(&entry.digest);
                let known = known.filter(|o| on.is_none_or(|on| o.may_be_on(*on))).cloned();
                known.unwrap_or_else(|| self.new_object(entry.digest, state))
            });
            let route = Route {
                object: object.clone(),
                media_type: entry.media_type.as_str().into(),
            };
            routes.paths.insert(path.clone(), route);
        }
        self.routes.store(Arc::new(routes));
        self.generation.fetch_add(1, Relaxed);
        self.heat_changed.notify_one();
    }

    fn new_object(&self, digest: ObjectDigest, state: &State) -> Arc<Object> {
        let held = match state.on_disk.get(&digest) {
            Some((size, Disk::Held)) => Some(size.0),
            _ => None,
        };
        let on = state.on.get(&digest);
        let placed = on.map(|on| (*on, self.places[*on].layout.object(&digest).into()));
        Arc::new(Object {
            digest,
            placed: placed.map_or_else(OnceLock::new, OnceLock::from),
            size: AtomicU64::new(held.unwrap_or(0)),
            offered: AtomicU64::new(held.map_or(0, |_| self.next_generation())),
            heat: Arc::new(Heat::new(Warmth::Unknown)),
        })
    }

    fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Relaxed) + 1
    }

    /// Stops offering an object; answers whether it was offered.
    fn withdraw(&self, digest: &ObjectDigest) -> bool {
        let routes = self.routes.load();
        let object = routes.objects.get(digest);
        let was = object.is_some_and(|o| o.offered.swap(0, Relaxed) > 0);
        if let (true, Some(object)) = (was, object) {
            self.next_generation();
            if object.heat.get() == Warmth::Kept {
                object.heat.set(Warmth::Hot); // what is verified anew may be another file
            }
            self.heat_changed.notify_one();
        }
        was
    }

    /// Tells every object's readers whether the plan calls it hot, with `budget` of memory for those that it does, and
    /// answers these.
    pub fn rate(&self, budget: Bytes) -> Vec<Hot> {
        let state = self.state();
        let routes = self.routes.load();
        let Some(expected) = &state.expected else {
            return Vec::new(); // no plan: what readers do decides
        };
        let hot = hot_set(expected, budget);
        let rate = |object: &Arc<Object>| {
            let revision = object.offered.load(Acquire);
            if revision == 0 || !hot.contains(&object.digest) {
                object.heat.set(Warmth::Cold);
                return None;
            }
            if object.heat.get() != Warmth::Kept {
                object.heat.set(Warmth::Hot);
            }
            Some(Hot {
                digest: object.digest,
                file: object.placed.get()?.1.to_path_buf(),
                size: Bytes(object.size.load(Relaxed)),
                revision,
                heat: Arc::clone(&object.heat),
            })
        };
        routes.objects.values().filter_map(rate).collect()
    }

    /// Whether an object is offered to viewers now.
    pub fn offers(&self, digest: &ObjectDigest) -> bool {
        let routes = self.routes.load();
        routes.objects.get(digest).is_some_and(|o| o.is_offered())
    }

    /// Everything that is offered, and a number that grows whenever it changes.
    pub fn inventory(&self) -> (u64, BTreeSet<ObjectDigest>) {
        // The number is read first: a change in between shows up as a further one later.
        let generation = self.generation();
        let routes = self.routes.load();
        let offered = routes.objects.values().filter(|o| o.is_offered());
        (generation, offered.map(|o| o.digest).collect())
    }

    /// The number of [`inventory`](Self::inventory) alone.
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Bytes taken by objects, whole and partial.
    pub fn used(&self) -> Bytes {
        room::used(&self.state())
    }

    /// Whether an object lies whole on the disk but must be verified before it can be offered.
    pub fn is_unverified(&self, digest: &ObjectDigest) -> bool {
        matches!(self.state().on_disk.get(digest), Some((_, Disk::Unverified)))
    }

    fn offer_locked(&self, state: &mut State, digest: &ObjectDigest, size: Bytes) {
        state.on_disk.insert(*digest, (size, Disk::Held));
        let on = state.on.get(digest).copied().unwrap_or(0);
        if let Some(object) = self.routes.load().objects.get(digest) {
            let placed = object
                .placed
                .get_or_init(|| (on, self.places[on].layout.object(digest).into()));
            if placed.0 != on {
                return self.rebuild_routes(state); // it came back on another drive
            }
            object.size.store(size.0, Relaxed);
            object.offered.store(self.next_generation(), Release);
            self.heat_changed.notify_one();
        }
    }
}

impl Namespace for Store {
    fn find(&self, path: &str) -> Option<Found> {
        let routes = self.routes.load();
        let route = routes.paths.get(path)?;
        let revision = route.object.offered.load(Acquire);
        let (_, file) = route.object.placed.get().filter(|_| revision > 0)?;
        Some(Found {
            file: file.clone(),
            digest: Some(route.object.digest),
            media_type: Some(route.media_type.clone()),
            immutable: true,
            record: Some(Record {
                size: route.object.size.load(Relaxed),
                revision,
            }),
        })
    }

    fn heat(&self, found: &Found) -> Arc<Heat> {
        let routes = self.routes.load();
        let object = found.digest.and_then(|d| routes.objects.get(&d));
        object.map_or_else(
            || Arc::new(Heat::new(Warmth::Cold)),
            |object| Arc::clone(&object.heat),
        )
    }

    fn drive(&self, found: &Found) -> Option<Arc<Drive>> {
        let routes = self.routes.load();
        let object = routes.objects.get(&found.digest?)?;
        let (on, _) = object.placed.get()?;
        Some(Arc::clone(&self.places[*on].drive))
    }

    fn served(&self, worker: usize, digest: &ObjectDigest, bytes: u64) {
        self.demand
            .count(worker, Hour::of(Timestamp::now()), *digest, bytes);
    }

    fn suspect(&self, digest: &ObjectDigest) {
        if self.withdraw(digest) {
            let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
            suspects.insert(*digest);
            self.suspected.notify_one();
        }
    }
}

/// An object under several paths is expected to be drawn by the viewers of all.
fn expected(items: &[PlanItem]) -> BTreeMap<ObjectDigest, Expected> {
    let mut all = BTreeMap::new();
    for item in items {
        let entry = all.entry(item.digest).or_insert(Expected {
            size: item.size,
            drawn: Bytes(0),
        });
        entry.drawn.0 = entry.drawn.0.saturating_add(item.expected.0);
    }
    all
}

#[cfg(test)]
mod tests;
