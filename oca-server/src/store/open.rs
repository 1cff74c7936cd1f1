//! Opens the store's folder and its drives, and finds out what lies there, by name and size. What a crash left half made is
//! removed; what the index does not name is to be verified before it is offered.

use super::{
    Budget, Disk, State, Store, StoreError,
    demand::DemandTables,
    drives::{Memory, Place},
    index::Index,
    layout::{self, Layout, digest_of_name},
    partial,
};
use arc_swap::ArcSwap;
use cdn_types::{Bytes, ObjectDigest};
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, atomic::AtomicU64},
};
use tokio::sync::Notify;

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
