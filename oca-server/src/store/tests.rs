//! The store against a naive model, through plans, fills, rot and crashes; and the order in which room is made.

use super::{
    partial::{Blocks, Partial},
    *,
};
use crate::{files::OpenFiles, metrics::Metrics};
use cdn_types::{BLOCK_SIZE, Digester, TitleId};
use oca_core::fill::{Sealed, byte_range};
use proptest::prelude::*;
use std::fs;

const WIDE: Budget = Budget {
    storage: Bytes(1 << 40),
    min_free: Bytes(0),
};

struct Made {
    data: Vec<u8>,
    item: PlanItem,
    blocks: Blocks,
}

fn made(seed: u64, size: u64) -> Made {
    let data: Vec<u8> = (0..size).map(|i| (i / 3 + seed * 17) as u8).collect();
    let mut d = Digester::new();
    d.update(&data);
    let (size, digest, blocks) = d.finish();
    let item = PlanItem {
        digest,
        size,
        title: TitleId::new("t").unwrap(),
        path: format!("/t/t/v/{seed}.mp4"),
        media_type: "video/mp4".into(),
        from: vec![0],
        expected: Bytes(0),
        kept: false,
    };
    Made {
        data,
        item,
        blocks: Blocks { size, blocks },
    }
}

fn write(partial: &Partial, made: &Made, block: u32) {
    let r = byte_range(&(block..block + 1), made.data.len() as u64);
    partial
        .write_block(block, &made.data[r.start as usize..r.end as usize])
        .unwrap();
}

fn fill(store: &Store, made: &Made) -> Result<(), RoomError> {
    let partial = store.open_partial(made.item.digest, &made.blocks)?;
    (0..made.blocks.blocks.len() as u32).for_each(|b| write(&partial, made, b));
    assert_eq!(store.seal(&partial)?, Sealed::Held);
    Ok(())
}

#[test]
fn room_is_made_from_what_the_plan_does_not_list_and_only_as_far_as_needed() {
    let dir = tempfile::tempdir().unwrap();
    let objects: Vec<_> = (0..4).map(|i| made(i, 1000)).collect();
    let items: Vec<_> = objects.iter().map(|m| m.item.clone()).collect();
    let budget = Budget {
        storage: Bytes(3000),
        min_free: Bytes(0),
    };
    let store = Store::open(dir.path(), budget, 1).unwrap();
    store.adopt(&items[..3], &[]).unwrap();
    objects[..3].iter().for_each(|m| fill(&store, m).unwrap());
    // The plan moves on: 1 and 3 are wanted, 2 shall be dropped first.
    store
        .adopt(&[items[1].clone(), items[3].clone()], &[items[2].digest])
        .unwrap();
    assert_eq!(
        store.inventory().1.len(),
        3,
        "nothing is dropped before room is needed"
    );
    fill(&store, &objects[3]).unwrap();
    let held = |i: usize| store.offers(&items[i].digest);
    assert_eq!((held(0), held(1), held(2), held(3)), (true, true, false, true));
    assert_eq!(store.drop_unlisted().unwrap(), 1);
    assert_eq!((held(0), held(1), held(3)), (false, true, true));
    let big = made(9, 1001);
    store
        .adopt(&[items[1].clone(), items[3].clone(), big.item.clone()], &[])
        .unwrap();
    let error = fill(&store, &big).unwrap_err();
    assert!(matches!(&error, RoomError::Full { .. }), "{error}");
    assert!(
        held(1) && held(3),
        "what the plan lists is never dropped for room"
    );
}

#[test]
fn an_object_without_a_path_is_verified_before_it_is_offered() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (made(1, 3000), made(2, 3000));
    {
        let store = Store::open(dir.path(), WIDE, 1).unwrap();
        store.adopt(&[good.item.clone(), bad.item.clone()], &[]).unwrap();
        fill(&store, &good).unwrap();
        fill(&store, &bad).unwrap();
        fs::write(store.layout().object(&bad.item.digest), vec![0; 3000]).unwrap();
        fs::remove_file(store.layout().index()).unwrap();
    }
    let store = Store::open(dir.path(), WIDE, 1).unwrap();
    store.adopt(&[good.item.clone(), bad.item.clone()], &[]).unwrap();
    assert!(store.inventory().1.is_empty());
    assert!(store.is_unverified(&good.item.digest));
    assert!(store.verify(&good.item.digest).unwrap());
    assert!(!store.verify(&bad.item.digest).unwrap());
    assert!(store.find(&good.item.path).is_some());
    assert!(store.find(&bad.item.path).is_none());
    assert!(!store.layout().object(&bad.item.digest).exists());
}

#[test]
fn what_the_plan_calls_hot_is_held_in_memory_within_the_budget() {
    use crate::{drain::Drain, sys::cache::cached_pages};
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    let dir = tempfile::tempdir_in("/var/tmp").unwrap(); // on a drive
    let store = Arc::new(Store::open(dir.path(), WIDE, 1).unwrap());
    let objects: Vec<Made> = (0..3).map(|seed| made(seed, 300_000)).collect();
    let draws = |times: [u64; 3]| {
        let items = objects.iter().zip(times).map(|(m, times)| PlanItem {
            expected: Bytes(times * 300_000),
            ..m.item.clone()
        });
        let items: Vec<_> = items.collect();
        store.adopt(&items, &[]).unwrap();
    };
    draws([1, 3, 2]);
    objects.iter().for_each(|m| fill(&store, m).unwrap());
    let metrics = Arc::new(Metrics::new());
    let keeper = keeper::Keeper::new(store.clone(), Bytes(700_000), metrics.clone(), Drain::default());
    let in_memory = || -> Vec<bool> {
        let look = |m: &Made| {
            let file = fs::File::open(store.layout().object(&m.item.digest)).unwrap();
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
            cached_pages(&file, 0, 300_000).unwrap() > 0
        };
        objects.iter().map(look).collect()
    };
    let held = || metrics.gauge("oca_ram_hot_bytes", &["held"]).get();
    keeper.settle();
    if held() == 0.0 {
        return; // the limit on locked memory is lower here
    }
    assert_eq!((in_memory(), held()), (vec![false, true, true], 600_000.0));
    let warmth = |m: &Made| store.heat(&store.find(&m.item.path).unwrap()).get();
    assert_eq!(
        (warmth(&objects[0]), warmth(&objects[1])),
        (Warmth::Cold, Warmth::Kept)
    );
    // A suspect's memory is given up until it was verified anew.
    store.suspect(&objects[1].item.digest);
    keeper.settle();
    assert_eq!((in_memory(), held()), (vec![false, false, true], 300_000.0));
    assert!(store.release(&objects[1].item.digest).unwrap());
    draws([9, 8, 0]);
    keeper.settle();
    assert_eq!((in_memory(), held()), (vec![true, true, false], 600_000.0));
}

#[test]
fn a_damaged_index_is_named_with_its_mend() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("index.json"), "{").unwrap();
    let error = Store::open(dir.path(), WIDE, 1).unwrap_err().to_string();
    assert!(
        error.contains("index.json") && error.contains("remove the file"),
        "{error}"
    );
}

/// One thing that happens to the store.
#[derive(Debug, Clone)]
enum Op {
    Adopt(Vec<usize>),
    Fill(usize),
    Blocks(usize, u8),
    DropUnlisted,
    Crash,
    /// The process dies while it replaces its index, or while it puts an object in place.
    CrashWithLitter(usize),
    /// A file comes out of a crash shorter than it was.
    CrashTruncates(usize),
    Suspect(usize),
    SuspectDamaged(usize),
}

const SIZES: [u64; 5] = [0, 5, BLOCK_SIZE, BLOCK_SIZE + 1, 2 * BLOCK_SIZE + 77];

fn op() -> impl Strategy<Value = Op> {
    let which = 0..SIZES.len();
    prop_oneof![
        3 => prop::collection::vec(which.clone(), 0..5).prop_map(Op::Adopt),
        4 => which.clone().prop_map(Op::Fill),
        3 => (which.clone(), any::<u8>()).prop_map(|(i, m)| Op::Blocks(i, m)),
        1 => Just(Op::DropUnlisted),
        2 => Just(Op::Crash),
        1 => which.clone().prop_map(Op::CrashWithLitter),
        1 => which.clone().prop_map(Op::CrashTruncates),
        1 => which.clone().prop_map(Op::Suspect),
        1 => which.prop_map(Op::SuspectDamaged),
    ]
}

/// The naive model: sets of object numbers.
#[derive(Debug, Default)]
struct Model {
    listed: BTreeSet<usize>,
    held: BTreeSet<usize>,
    partial: BTreeMap<usize, BTreeSet<u32>>,
}

struct World {
    dir: tempfile::TempDir,
    objects: Vec<Made>,
    store: Option<Store>,
    model: Model,
}

impl World {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.store = None;
        self.store = Some(Store::open(self.dir.path(), WIDE, 1).unwrap());
        // As the appliance does: the plan that it last took is adopted again.
        let listed: Vec<_> = self.model.listed.iter().copied().collect();
        self.adopt(&listed);
    }

    fn adopt(&mut self, which: &[usize]) {
        let listed: BTreeSet<_> = which.iter().copied().collect();
        let items: Vec<_> = listed.iter().map(|i| self.objects[*i].item.clone()).collect();
        self.store().adopt(&items, &[]).unwrap();
        self.model.partial.retain(|i, _| listed.contains(i));
        self.model.listed = listed;
    }

    fn open(&mut self, i: usize) -> Option<Partial> {
        if !self.model.listed.contains(&i) || self.model.held.contains(&i) {
            return None;
        }
        let made = &self.objects[i];
        let partial = self.store().open_partial(made.item.digest, &made.blocks).unwrap();
        let verified: BTreeSet<_> = partial.verified().iter().collect();
        let expected = self.model.partial.entry(i).or_default();
        assert_eq!(&verified, expected, "a restart resumes at what was verified");
        Some(partial)
    }

    fn blocks(&mut self, i: usize, mask: u8) {
        let Some(partial) = self.open(i) else { return };
        for block in (0..self.objects[i].blocks.blocks.len() as u32).filter(|b| mask >> b & 1 == 1) {
            assert!(partial.write_block(block, b"not this block").is_err());
            write(&partial, &self.objects[i], block);
            self.model.partial.get_mut(&i).unwrap().insert(block);
        }
        if partial.verified().is_full() {
            assert_eq!(self.store().seal(&partial).unwrap(), Sealed::Held);
            self.model.partial.remove(&i);
            self.model.held.insert(i);
        }
    }

    fn suspect(&mut self, i: usize, damaged: bool) {
        let digest = self.objects[i].item.digest;
        let file = self.store().layout().object(&digest);
        let held = self.model.held.contains(&i);
        if held && damaged {
            fs::write(&file, b"rotten").unwrap();
            self.model.held.remove(&i);
        }
        self.store().suspect(&digest);
        assert!(
            !self.store().offers(&digest),
            "a suspect is not offered while it is verified"
        );
        let suspects = self.store().take_suspects();
        assert_eq!(suspects.contains(&digest), held);
        for suspect in suspects {
            assert_eq!(self.store().release(&suspect).unwrap(), !damaged);
        }
    }

    fn apply(&mut self, op: Op) {
        let file = |w: &Self, i: usize| w.store().layout().object(&w.objects[i].item.digest);
        match op {
            Op::Adopt(which) => self.adopt(&which),
            Op::Fill(i) => self.blocks(i, 0xff),
            Op::Blocks(i, mask) => self.blocks(i, mask),
            Op::DropUnlisted => {
                self.store().drop_unlisted().unwrap();
                self.model.held.retain(|i| self.model.listed.contains(i));
            }
            Op::Crash => self.restart(),
            Op::CrashWithLitter(i) => {
                let object = file(self, i);
                fs::create_dir_all(object.parent().unwrap()).unwrap();
                fs::write(object.with_extension("tmp"), b"half").unwrap();
                fs::write(self.dir.path().join("index.json.tmp"), b"{\"format\":1,\"pa").unwrap();
                self.restart();
            }
            Op::CrashTruncates(i) => {
                if self.model.held.contains(&i) && SIZES[i] > 0 {
                    let open = fs::OpenOptions::new().write(true).open(file(self, i)).unwrap();
                    open.set_len(SIZES[i] - 1).unwrap();
                    self.model.held.remove(&i);
                }
                self.restart();
            }
            Op::Suspect(i) => self.suspect(i, false),
            Op::SuspectDamaged(i) => self.suspect(i, true),
        }
    }

    fn check(&self) {
        for (i, made) in self.objects.iter().enumerate() {
            let found = self.store().find(&made.item.path);
            assert_eq!(
                found.is_some(),
                self.model.held.contains(&i),
                "object {i}: {:?}",
                self.model
            );
            if let Some(found) = found {
                assert!(
                    fs::read(&found.file).unwrap() == made.data,
                    "object {i} has other bytes"
                );
                assert_eq!(found.digest, Some(made.item.digest));
                assert_eq!(found.media_type.as_deref(), Some("video/mp4"));
            }
        }
        let held: BTreeSet<_> = self
            .model
            .held
            .iter()
            .map(|i| self.objects[*i].item.digest)
            .collect();
        assert_eq!(self.store().inventory().1, held);
        let sizes = self
            .model
            .held
            .iter()
            .chain(self.model.partial.keys())
            .map(|i| SIZES[*i]);
        assert_eq!(self.store().used(), Bytes(sizes.sum()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    /// Whatever comes and goes, with crashes between: exactly what the model holds is served, with its bytes.
    #[test]
    fn the_store_serves_what_a_naive_model_holds(ops in prop::collection::vec(op(), 1..25)) {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(Store::open(dir.path(), WIDE, 1).unwrap());
        let objects = (0..).zip(SIZES).map(|(i, size)| made(i, size)).collect();
        let mut world = World { dir, objects, store, model: Model::default() };
        for op in ops {
            world.apply(op);
            world.check();
        }
    }
}

#[test]
fn an_object_that_was_cut_short_is_never_served_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let object = made(1, 3000);
    let store = Store::open(dir.path(), WIDE, 1).unwrap();
    store.adopt(std::slice::from_ref(&object.item), &[]).unwrap();
    fill(&store, &object).unwrap();
    let mut files = OpenFiles::new(4, &Metrics::new());
    let before = store.find(&object.item.path).unwrap();
    assert_eq!(files.open(&store, &before).unwrap().size, 3000);
    let file = fs::File::options()
        .write(true)
        .open(store.layout().object(&object.item.digest))
        .unwrap();
    file.set_len(1000).unwrap();
    let mut other_worker = OpenFiles::new(4, &Metrics::new());
    let error = other_worker.open(&store, &before).unwrap_err();
    assert!(error.to_string().contains("1000 bytes"), "{error}");
    store.suspect(&object.item.digest);
    assert!(!store.release(&object.item.digest).unwrap());
    fill(&store, &object).unwrap();
    // The first worker still has the damaged file open and must not send of it.
    let after = store.find(&object.item.path).unwrap();
    let again = files.open(&store, &after).unwrap();
    assert_eq!(again.file.metadata().unwrap().len(), 3000);
}

#[test]
fn a_partial_that_cannot_be_removed_keeps_no_path_of_the_plan_back() {
    let dir = tempfile::tempdir().unwrap();
    let (stale, wanted) = (made(1, 3000), made(2, 3000));
    let store = Store::open(dir.path(), WIDE, 1).unwrap();
    store.adopt(std::slice::from_ref(&stale.item), &[]).unwrap();
    store.open_partial(stale.item.digest, &stale.blocks).unwrap();
    let file = store.layout().partial(&stale.item.digest);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(store.adopt(std::slice::from_ref(&wanted.item), &[]).is_err());
    fill(&store, &wanted).unwrap();
    assert!(store.offers(&wanted.item.digest));
}

#[test]
fn what_a_crash_left_beside_a_partial_is_removed_and_its_room_taken_in_full() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let (orphan, kept) = (made(1, 3 * BLOCK_SIZE), made(2, 3 * BLOCK_SIZE));
    let store = Store::open(dir.path(), WIDE, 1).unwrap();
    let layout = store.layout().clone();
    for object in [&orphan, &kept] {
        store.open_partial(object.item.digest, &object.blocks).unwrap();
    }
    drop(store);
    fs::remove_file(layout.partial(&orphan.item.digest)).unwrap();
    fs::write(
        layout.partials().join(format!("{}.json.tmp", orphan.item.digest)),
        "{",
    )
    .unwrap();
    let data = fs::File::create(layout.partial(&kept.item.digest)).unwrap();
    data.set_len(3 * BLOCK_SIZE).unwrap(); // the length came, the room did not
    let store = Store::open(dir.path(), WIDE, 1).unwrap();
    assert_eq!(
        fs::read_dir(layout.partials()).unwrap().count(),
        3,
        "data, journal, digests of one"
    );
    store.open_partial(kept.item.digest, &kept.blocks).unwrap();
    assert!(data.metadata().unwrap().blocks() * 512 >= 3 * BLOCK_SIZE);
}
