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
pub mod partial;

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
use drives::{Ejected, Memory, Place};
use index::{Index, IndexError};
use keeper::Hot;
use layout::{Layout, RootLock, digest_of_name};
use oca_core::{
    drive_choice::{Candidate, choose},
    fill::Sealed,
    fill_room::{Unlisted, drop_order, make_room},
    hot_set::{Expected, hot_set},
};
use partial::{Blocks, Partial};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
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
    /// Opens the folder, making it if need be, and finds out what is there by name and size.
    pub fn open(root: &Path, budget: Budget, workers: usize) -> Result<Self, StoreError> {
        Self::open_with_drives(root, &[], budget, workers)
    }

    /// As [`open`](Self::open), with objects on `drives` instead of the root, if there are any. A drive that was given up, or
    /// cannot be used, is left alone.
    pub fn open_with_drives(
        root: &Path,
        drives: &[PathBuf],
        budget: Budget,
        workers: usize,
    ) -> Result<Self, StoreError> {
        let layout = Layout::new(root);
        let disk = |path: PathBuf| move |why| StoreError::Disk { path, why };
        let (lock, places, memory) = if drives.is_empty() {
            let lock = layout.prepare().map_err(disk(root.to_owned()))?;
            (lock, vec![Place::root(layout.clone())], None)
        } else {
            let lock = layout.lock().map_err(disk(root.to_owned()))?;
            let mut memory = Memory::load(&layout.drives()).map_err(disk(layout.drives()))?;
            let each = drives.iter().enumerate();
            let places = each
                .map(|(i, path)| Place::take_up(i, path, &mut memory))
                .collect();
            memory.save(&layout.drives()).map_err(disk(layout.drives()))?;
            (lock, places, Some(memory))
        };
        let index = Index::load(&layout.index()).map_err(|why| StoreError::Index {
            path: layout.index(),
            why,
        })?;
        let mut state = State {
            index,
            ..State::default()
        };
        for place in places.iter().filter(|p| !p.drive.is_given_up()) {
            match scan(place, &mut state) {
                Err(why) if memory.is_some() => place.leave(why.to_string()),
                scanned => scanned.map_err(disk(place.layout.root().to_owned()))?,
            }
        }
        let store = Self {
            layout,
            places,
            memory: memory.map(Mutex::new),
            lost: Mutex::default(),
            budget,
            routes: ArcSwap::default(),
            state: Mutex::new(state),
            generation: AtomicU64::new(1),
            suspects: Mutex::default(),
            suspected: Notify::new(),
            heat_changed: Notify::new(),
            demand: DemandTables::new(workers),
            lock: Mutex::new(Some(lock)),
        };
        store.trust_drives();
        store.rebuild_routes(&store.state());
        Ok(store)
    }

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

    /// Gives a drive up: at once none of its objects is offered and nothing more is read from it; it is remembered, and what
    /// the plan lists of it is to be fetched again.
    pub fn eject(&self, index: usize, why: &str) {
        let (Some(place), Some(memory)) = (self.places.get(index), &self.memory) else {
            return;
        };
        // First what needs no lock: somebody may hold it who waits for this drive.
        let there: Vec<_> = {
            let routes = self.routes.load();
            let on_it = |o: &&Arc<Object>| o.placed.get().is_some_and(|(on, _)| *on == index);
            routes.objects.values().filter(on_it).map(|o| o.digest).collect()
        };
        place.leave(why.to_owned());
        for digest in &there {
            self.withdraw(digest);
        }
        {
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = memory.get_mut(place.layout.root()) {
                known.ejected = Some(Ejected {
                    why: why.to_owned(),
                    at: Timestamp::now(),
                });
            }
            self.save_memory(&memory);
        }
        let mut state = self.state();
        let gone: BTreeSet<_> = state
            .on
            .iter()
            .filter(|(_, on)| **on == index)
            .map(|(digest, _)| *digest)
            .collect();
        for digest in &gone {
            self.withdraw(digest); // what was offered in between
            state.on.remove(digest);
            state.on_disk.remove(digest);
            state.partial.remove(digest);
        }
        self.forget_paths(&mut state);
        self.rebuild_routes(&state);
        drop(state);
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.extend(gone);
        self.suspected.notify_one();
    }

    /// Objects that went with their drive since the last call; [`suspected`](Self::suspected) tells of them too.
    pub fn take_lost(&self) -> BTreeSet<ObjectDigest> {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *lost)
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
        used(&self.state())
    }

    /// Whether an object lies whole on the disk but must be verified before it can be offered.
    pub fn is_unverified(&self, digest: &ObjectDigest) -> bool {
        matches!(self.state().on_disk.get(digest), Some((_, Disk::Unverified)))
    }

    /// Opens an object for filling, taking its room. What the plan does not list is dropped as far as that is
    /// needed for it.
    pub fn open_partial(&self, digest: ObjectDigest, blocks: &Blocks) -> Result<Partial, RoomError> {
        let size = blocks.size;
        let mut state = self.state();
        if !self.is_ours() {
            return Err(io::Error::other("another process has taken over the folder").into());
        }
        let full = |why: String| RoomError::Full { digest, size, why };
        let needed = Bytes(size.0 - state.partial.get(&digest).map_or(0, |p| p.0.min(size.0)));
        let unlisted = unlisted(&state);
        let drops = make_room(needed, used(&state), self.budget.storage, &unlisted)
            .map_err(|e| full(format!("storage budget of {}: {e}", self.budget.storage)))?;
        self.drop_locked(&mut state, &drops)?;
        let opened = match self.try_open_partial(&mut state, digest, blocks, needed) {
            Err(e) if layout::is_full(&e) => {
                let rest: Vec<_> = unlisted
                    .into_iter()
                    .filter(|u| !drops.contains(&u.digest))
                    .collect();
                let on = state.on.get(&digest).copied().unwrap_or(0);
                let beside: Vec<_> = rest
                    .into_iter()
                    .filter(|u| state.on.get(&u.digest) == Some(&on))
                    .collect();
                let more = make_room(self.shortage(on, needed)?, Bytes(0), Bytes(0), &beside);
                self.drop_locked(&mut state, &more.map_err(|_| full(e.to_string()))?)?;
                self.try_open_partial(&mut state, digest, blocks, needed)
            }
            other => other,
        };
        match opened {
            Ok(partial) => {
                state.partial.insert(digest, size);
                Ok(partial)
            }
            Err(e) if layout::is_full(&e) => {
                state.partial.remove(&digest);
                state.on.remove(&digest);
                Err(full(e.to_string()))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// The drive for an object: where it lies already, else the one that its digest and the room choose.
    fn drive_for(&self, state: &State, digest: &ObjectDigest, size: Bytes) -> io::Result<usize> {
        if let Some(on) = state.on.get(digest) {
            return Ok(*on);
        }
        let in_use = || self.places.iter().filter(|p| !p.drive.is_given_up());
        let room = |place: &Place| {
            let free = free_space(place.layout.root()).map_or(0, |free| free.0);
            Bytes(free.saturating_sub(self.budget.min_free.0))
        };
        let candidates: Vec<_> = in_use()
            .map(|place| Candidate {
                id: &place.id,
                free: room(place),
            })
            .collect();
        let chosen = choose(digest, size, &candidates).and_then(|i| in_use().nth(i));
        let chosen = chosen.map(|place| place.drive.index);
        chosen.ok_or_else(|| io::Error::other("no drive is in use: see oca-server drives"))
    }

    /// What is missing on the file system, at least a byte. What was dropped is missing until its last reader is
    /// done with it.
    fn shortage(&self, on: usize, needed: Bytes) -> io::Result<Bytes> {
        let free = free_space(self.places[on].layout.root())?;
        let wanted = needed.0.saturating_add(self.budget.min_free.0);
        Ok(Bytes(wanted.saturating_sub(free.0).max(1)))
    }

    fn try_open_partial(
        &self,
        state: &mut State,
        digest: ObjectDigest,
        blocks: &Blocks,
        needed: Bytes,
    ) -> io::Result<Partial> {
        let on = self.drive_for(state, &digest, needed)?;
        state.on.insert(digest, on);
        let layout = &self.places[on].layout;
        let free = free_space(layout.root())?;
        if needed.0 > 0 && free.0 < needed.0.saturating_add(self.budget.min_free.0) {
            let text = format!(
                "the disk has {free} free, of which {} stay free",
                self.budget.min_free
            );
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        Partial::open(layout, &self.places[on].drive, digest, blocks.clone())
    }

    /// Verifies a complete partial object and offers it.
    pub fn seal(&self, partial: &Partial) -> io::Result<Sealed> {
        let on = self.state().on.get(partial.digest()).copied();
        let on = on.ok_or_else(|| io::Error::other("its drive was given up"))?;
        let sealed = partial.seal(&self.places[on].layout)?;
        let mut state = self.state();
        if state.on.get(partial.digest()) != Some(&on) {
            return Err(io::Error::other("its drive was given up meanwhile"));
        }
        match &sealed {
            Sealed::Held => {
                state.partial.remove(partial.digest());
                self.offer_locked(&mut state, partial.digest(), partial.size());
            }
            Sealed::Foreign => {
                state.partial.remove(partial.digest());
                state.on.remove(partial.digest());
            }
            Sealed::Damaged(_) | Sealed::Failed => {}
        }
        Ok(sealed)
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

    /// Verifies an object that lies on the disk, from the first byte to the last: offered if it is right, removed
    /// if not. Answers whether it is right.
    pub fn verify(&self, digest: &ObjectDigest) -> io::Result<bool> {
        let found = partial::digest_file(&self.layout_of(digest).object(digest));
        let right = matches!(&found, Ok((_, whole, _)) if whole == digest);
        let mut state = self.state();
        if let (true, Ok((size, ..))) = (right, found) {
            self.offer_locked(&mut state, digest, size);
        } else {
            self.drop_locked(&mut state, &[*digest])?;
        }
        Ok(right)
    }

    /// Removes every object that the plan does not list; answers how many.
    pub fn drop_unlisted(&self) -> io::Result<usize> {
        let mut state = self.state();
        let drops: Vec<_> = unlisted(&state).into_iter().map(|u| u.digest).collect();
        self.drop_locked(&mut state, &drops)?;
        Ok(drops.len())
    }

    fn drop_locked(&self, state: &mut State, digests: &[ObjectDigest]) -> io::Result<()> {
        for digest in digests {
            self.withdraw(digest);
            let place = self.place(state, digest);
            let removed = layout::remove_if_there(&place.layout.object(digest));
            removed.inspect_err(|e| place.drive.write_failed(e))?;
            state.on_disk.remove(digest);
            if !state.partial.contains_key(digest) {
                state.on.remove(digest);
            }
            tracing::info!(object = %digest.short(), "dropped");
        }
        if !digests.is_empty() {
            self.forget_paths(state);
        }
        Ok(())
    }

    /// Forgets the paths of what is neither listed nor there.
    fn forget_paths(&self, state: &mut State) {
        let gone =
            |e: &index::Entry| !state.listed.contains(&e.digest) && !state.on_disk.contains_key(&e.digest);
        let paths = &state.index.paths;
        if paths.values().any(gone) {
            let kept = paths
                .iter()
                .filter(|(_, e)| !gone(e))
                .map(|(p, e)| (p.clone(), e.clone()));
            state.index.paths = kept.collect();
            self.save_index(state);
            self.rebuild_routes(state);
        }
    }

    /// Objects that the send path found unreadable since the last call. None is offered until
    /// [`release`](Self::release).
    pub fn take_suspects(&self) -> BTreeSet<ObjectDigest> {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *suspects)
    }

    /// Resolves when there may be suspects.
    pub async fn suspected(&self) {
        self.suspected.notified().await;
    }

    /// Verifies a suspect out of the way of viewers: back in place if it is right, removed if not. Answers whether
    /// it is right.
    pub fn release(&self, digest: &ObjectDigest) -> io::Result<bool> {
        let layout = self.layout_of(digest);
        let (from, aside) = (layout.object(digest), layout.quarantine(digest));
        if fs::rename(&from, &aside).is_err() {
            // What keeps it from being set aside most often keeps it from being removed, and is told there.
            self.drop_locked(&mut self.state(), &[*digest])?;
            return Ok(false);
        }
        let found = partial::digest_file(&aside);
        if found.is_err() {
            self.place(&self.state(), digest).drive.failed();
        }
        if let Ok((size, whole, _)) = found
            && whole == *digest
        {
            fs::rename(&aside, &from)?;
            self.offer_locked(&mut self.state(), digest, size);
            return Ok(true);
        }
        layout::remove_if_there(&aside)?;
        self.drop_locked(&mut self.state(), &[*digest])?;
        Ok(false)
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

fn used(state: &State) -> Bytes {
    let whole: Bytes = state.on_disk.values().map(|(size, _)| *size).sum();
    let partial: Bytes = state.partial.values().copied().sum();
    Bytes(whole.0 + partial.0)
}

fn unlisted(state: &State) -> Vec<Unlisted> {
    let unlisted = state.on_disk.iter().filter(|(d, _)| !state.listed.contains(d));
    let unlisted = unlisted.map(|(digest, (size, _))| Unlisted {
        digest: *digest,
        size: *size,
    });
    drop_order(unlisted.collect(), &state.plan_drops)
}

/// Bytes that this process may still write to a file system.
pub fn free_space(path: &Path) -> io::Result<Bytes> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(Bytes(stat.blocks_available() * stat.fragment_size()))
}

/// Bytes of a file system.
pub fn total_space(path: &Path) -> io::Result<Bytes> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(Bytes(stat.blocks() * stat.fragment_size()))
}

/// Takes in what lies on a drive. An object that lies on another one already came back there while this one was out: it goes.
fn scan(place: &Place, state: &mut State) -> io::Result<()> {
    let on = place.drive.index;
    for (digest, (size, known)) in scan_objects(&place.layout, &state.index)? {
        if state.on.contains_key(&digest) {
            layout::remove_if_there(&place.layout.object(&digest))?;
            continue;
        }
        let known = if place.doubted { Disk::Unverified } else { known };
        state.on_disk.insert(digest, (size, known));
        state.on.insert(digest, on);
    }
    for (digest, size) in scan_partials(&place.layout)? {
        if state.on.get(&digest).is_some_and(|other| *other != on) {
            partial::remove(&place.layout, &digest)?;
            continue;
        }
        state.partial.insert(digest, size);
        state.on.insert(digest, on);
    }
    clear_folder(&place.layout.quarantines())
}

/// Objects on the disk. One whose size is not the index's is removed: it can only be a torn one.
fn scan_objects(layout: &Layout, index: &Index) -> io::Result<BTreeMap<ObjectDigest, (Bytes, Disk)>> {
    let sizes: HashMap<_, _> = index.paths.values().map(|e| (e.digest, e.size)).collect();
    let mut found = BTreeMap::new();
    for folder in fs::read_dir(layout.objects())? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            let Some(digest) = digest_of_name(&path).filter(|d| layout.object(d) == path) else {
                continue;
            };
            let size = Bytes(fs::metadata(&path)?.len());
            match sizes.get(&digest) {
                Some(expected) if *expected != size => {
                    tracing::warn!(object = %digest.short(), %size, %expected, "object has the wrong size; removed");
                    layout::remove_if_there(&path)?;
                }
                Some(_) => _ = found.insert(digest, (size, Disk::Held)),
                None => _ = found.insert(digest, (size, Disk::Unverified)),
            }
        }
    }
    Ok(found)
}

/// Partial objects. What a crash left of others (a journal or block digests alone) is removed.
fn scan_partials(layout: &Layout) -> io::Result<BTreeMap<ObjectDigest, Bytes>> {
    let (mut found, mut beside) = (BTreeMap::new(), Vec::new());
    for file in fs::read_dir(layout.partials())? {
        let path = file?.path();
        match digest_of_name(&path) {
            Some(digest) => _ = found.insert(digest, Bytes(fs::metadata(&path)?.len())),
            None => beside.push(path),
        }
    }
    let orphan = |p: &&PathBuf| digest_of_name(&p.with_extension("")).is_none_or(|d| !found.contains_key(&d));
    for path in beside.iter().filter(orphan) {
        layout::remove_if_there(path)?;
    }
    Ok(found)
}

fn clear_folder(folder: &Path) -> io::Result<()> {
    for file in fs::read_dir(folder)? {
        layout::remove_if_there(&file?.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
