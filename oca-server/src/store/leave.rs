//! How objects go: dropped for others, found damaged, or with their drive. Each is withdrawn from viewers before its file is
//! touched.

use super::{Object, State, Store, drives::Ejected, index, layout, partial, room::unlisted};
use cdn_types::{ObjectDigest, time::Timestamp};
use std::{
    collections::BTreeSet,
    fs, io,
    sync::{Arc, PoisonError},
};

impl Store {
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

    pub(super) fn drop_locked(&self, state: &mut State, digests: &[ObjectDigest]) -> io::Result<()> {
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
    pub(super) fn forget_paths(&self, state: &mut State) {
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
