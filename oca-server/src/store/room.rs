//! How objects come: room is made for one that is to be filled, on the drive that it is for, and one that is whole is verified
//! and offered.

use super::{
    RoomError, State, Store,
    drives::Place,
    layout::{self, free_space},
    partial::{Blocks, Partial},
};
use cdn_types::{Bytes, ObjectDigest};
use oca_core::{
    drive_choice::{Candidate, choose},
    fill::Sealed,
    fill_room::{Unlisted, drop_order, make_room},
};
use std::io;

impl Store {
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
}

pub(super) fn used(state: &State) -> Bytes {
    let whole: Bytes = state.on_disk.values().map(|(size, _)| *size).sum();
    let partial: Bytes = state.partial.values().copied().sum();
    Bytes(whole.0 + partial.0)
}

pub(super) fn unlisted(state: &State) -> Vec<Unlisted> {
    let unlisted = state.on_disk.iter().filter(|(d, _)| !state.listed.contains(d));
    let unlisted = unlisted.map(|(digest, (size, _))| Unlisted {
        digest: *digest,
        size: *size,
    });
    drop_order(unlisted.collect(), &state.plan_drops)
}
