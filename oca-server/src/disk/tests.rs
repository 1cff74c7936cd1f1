//! Reads of real files, in and out of memory, by the kernel's ring and by threads.

use super::*;
use crate::{
    files::OpenFiles,
    namespace::{
        Found, Namespace,
        heat::{Heat, Warmth},
    },
    sys::arena::CHUNK,
};
use proptest::prelude::*;
use std::{
    fs::{self, File},
    future::Future,
    io::{Read, Write},
    os::fd::AsFd,
    path::Path,
    pin::pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};
use tokio::task::LocalSet;

/// One file, as warm as told.
struct One(Arc<Heat>);

impl Namespace for One {
    fn find(&self, path: &str) -> Option<Found> {
        Some(Found {
            file: Path::new(path).into(),
            digest: None,
            media_type: None,
            immutable: false,
            record: None,
        })
    }
    fn heat(&self, _: &Found) -> Arc<Heat> {
        Arc::clone(&self.0)
    }
}

fn open(path: &Path, warmth: Warmth) -> Rc<OpenFile> {
    let one = One(Arc::new(Heat::new(warmth)));
    let found = one.find(path.to_str().unwrap()).unwrap();
    OpenFiles::new(4, &Metrics::new()).open(&one, &found).unwrap()
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 7 + i / 256 * 31) as u8).collect()
}

/// A folder that is not in memory, as /tmp may be.
fn on_a_drive() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").unwrap()
}

/// Out of memory, as far as the file system has any notion of that.
fn cool(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
    nix::fcntl::posix_fadvise(&file, 0, 0, advice).unwrap();
}

fn file_of(dir: &tempfile::TempDir, size: usize) -> std::path::PathBuf {
    let path = dir.path().join("f.mp4");
    fs::write(&path, content(size)).unwrap();
    cool(&path);
    path
}

fn disk(memory: usize) -> Rc<Disk> {
    Rc::new(Disk::new(memory, &Metrics::new()))
}

/// One that reads by threads.
fn threaded(memory: usize) -> Rc<Disk> {
    let disk = disk(memory);
    let reader = spawn_local(Rc::clone(&disk.queue).run(Engine::Threads(engine::Threads::default())));
    disk.reader.set(reader.abort_handle()).unwrap();
    disk
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, work)
}

async fn collect(disk: &Rc<Disk>, file: &Rc<OpenFile>, offset: u64, len: u64) -> Result<Vec<u8>, ReadError> {
    let mut stream = disk.stream(file, Slice { offset, len });
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        assert!(!piece.is_empty());
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

async fn settle(disk: &Disk) {
    while disk.queue.arena().lent() > 0 {
        tokio::task::yield_now().await;
    }
}

/// Odd, so that its tail is no whole block.
const SIZE: usize = 3_000_017;

fn shared_file() -> &'static Path {
    static FILE: OnceLock<(tempfile::TempDir, std::path::PathBuf)> = OnceLock::new();
    let (_, path) = FILE.get_or_init(|| {
        let dir = on_a_drive();
        let path = file_of(&dir, SIZE);
        (dir, path)
    });
    path
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_slice_from_the_drive_is_what_the_file_holds(
        offset in 0..SIZE, len in 1..SIZE, hot in any::<bool>(), by_threads in any::<bool>(), cut in any::<bool>()
    ) {
        let len = len.min(SIZE - offset);
        let offset = if cut { offset / 4096 * 4096 } else { offset };
        let got = run(async {
            let disk = if by_threads { threaded(CHUNK) } else { disk(CHUNK) };
            let file = open(shared_file(), if hot { Warmth::Hot } else { Warmth::Cold });
            collect(&disk, &file, offset as u64, len as u64).await.unwrap()
        });
        prop_assert!(got == content(SIZE)[offset..offset + len]);
    }
}

#[test]
fn a_cold_read_leaves_no_trace_and_a_hot_one_stays() {
    let dir = on_a_drive();
    let path = file_of(&dir, SIZE);
    run(async {
        let disk = disk(CHUNK);
        let slice = Slice {
            offset: 0,
            len: SIZE as u64,
        };
        for (warmth, resident) in [(Warmth::Cold, 0), (Warmth::Cold, 0), (Warmth::Hot, slice.len)] {
            let file = open(&path, warmth);
            assert_eq!(disk.resident(&file, slice), 0);
            assert!(collect(&disk, &file, 0, slice.len).await.unwrap() == content(SIZE));
            assert_eq!(disk.resident(&open(&path, warmth), slice), resident, "{warmth:?}");
        }
    });
}

#[test]
fn without_a_plan_what_is_read_over_twice_stays_in_memory() {
    let dir = on_a_drive();
    let path = file_of(&dir, SIZE);
    run(async {
        let disk = disk(CHUNK);
        let file = open(&path, Warmth::Unknown);
        let slice = Slice {
            offset: 0,
            len: SIZE as u64,
        };
        for resident in [0, 0, slice.len] {
            assert!(collect(&disk, &file, 0, slice.len).await.unwrap() == content(SIZE));
            assert_eq!(disk.resident(&file, slice), resident);
        }
    });
}

#[test]
fn what_is_in_memory_is_found_by_counting_and_by_reading() {
    let dir = on_a_drive();
    let path = file_of(&dir, 4 << 20);
    let part = (1 << 20) + (512 << 10);
    let mut file = File::open(&path).unwrap();
    nix::fcntl::posix_fadvise(&file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_RANDOM).unwrap();
    file.read_exact(&mut vec![0; part]).unwrap();
    for (residency, most) in [
        (Residency::default(), part as u64),
        (Residency::by_reading(), 4 << 20),
    ] {
        for offset in [0, 1, 700_000, (1 << 20) + 5] {
            let file = open(&path, Warmth::Cold);
            let got = residency.prefix(&file, offset..4 << 20);
            let (least, most) = (part as u64 - offset - (64 << 10), most - offset);
            assert!((least..=most).contains(&got), "{got} of {most} from {offset}");
            assert_eq!(residency.prefix(&file, offset..offset + 1000), 1000);
        }
        if most == part as u64 {
            assert_eq!(residency.prefix(&open(&path, Warmth::Cold), 3 << 20..4 << 20), 0);
        }
    }
}

#[test]
fn reads_of_what_is_in_memory_do_not_wait() {
    let dir = on_a_drive();
    let path = file_of(&dir, 100_000);
    let disk = disk(CHUNK);
    let file = open(&path, Warmth::Cold);
    let mut bytes = [0; 1000];
    let mut read = |offset| disk.read_now(&file, &mut [IoSliceMut::new(&mut bytes)], offset);
    assert!(matches!(read(0), Ok(None)));
    assert_eq!(
        cache::cached_pages(&File::open(&path).unwrap(), 0, 100_000).unwrap_or(0),
        0
    );
    fs::read(&path).unwrap();
    assert!(matches!(read(99_990), Ok(Some(10))));
    assert!(matches!(read(100_000), Err(ReadError::Short)));
    assert_eq!(bytes[..10], content(100_000)[99_990..]);
}

#[test]
fn a_truncated_file_is_short_and_the_rest_is_not_asked_for() {
    for size in [0, 1, 4096, 700_001] {
        let dir = on_a_drive();
        let path = file_of(&dir, SIZE);
        run(async {
            for warmth in [Warmth::Cold, Warmth::Hot] {
                let disk = disk(CHUNK);
                let file = open(&path, warmth);
                File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_len(size)
                    .unwrap();
                let mut stream = disk.stream(
                    &file,
                    Slice {
                        offset: 0,
                        len: SIZE as u64,
                    },
                );
                let mut got = 0;
                let error = loop {
                    match stream.next().await.unwrap() {
                        Ok(piece) => got += piece.len() as u64,
                        Err(error) => break error,
                    }
                };
                assert!(matches!(error, ReadError::Short), "{error}");
                assert!(got <= size && stream.next().await.is_none());
                fs::write(&path, content(SIZE)).unwrap();
                cool(&path);
            }
        });
    }
}

#[test]
fn dropped_streams_give_their_memory_back() {
    let dir = on_a_drive();
    let path = file_of(&dir, SIZE);
    run(async {
        for disk in [disk(CHUNK), threaded(CHUNK)] {
            let file = open(&path, Warmth::Cold);
            for turns in 0..20 {
                let mut stream = disk.stream(
                    &file,
                    Slice {
                        offset: 5,
                        len: 1 << 20,
                    },
                );
                let cx = &mut Context::from_waker(Waker::noop());
                assert!(stream.poll_next(cx).is_pending());
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            settle(&disk).await;
            assert_eq!(Rc::strong_count(&file), 1);
        }
    });
}

#[test]
fn many_streams_finish_with_little_memory_though_some_hold_on_to_it() {
    let dir = on_a_drive();
    let path = file_of(&dir, SIZE);
    run(async {
        let disk = disk(CHUNK);
        let file = open(&path, Warmth::Cold);
        let whole = content(SIZE);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..100u64 {
            let (disk, file) = (Rc::clone(&disk), Rc::clone(&file));
            tasks.spawn_local(async move {
                let offset = number * 1013;
                let mut stream = disk.stream(&file, Slice { offset, len: 1 << 20 });
                let mut all = Vec::new();
                while let Some(piece) = stream.next().await {
                    if number % 10 == 0 {
                        tokio::time::sleep(std::time::Duration::from_millis(number / 2)).await; // a slow client
                    }
                    all.extend_from_slice(&piece.unwrap());
                }
                (offset as usize, all)
            });
        }
        while let Some(done) = tasks.join_next().await {
            let (offset, all) = done.unwrap();
            assert!(all == whole[offset..offset + (1 << 20)]);
        }
        settle(&disk).await;
    });
}

#[test]
fn a_stalled_read_holds_up_no_other_drive_and_nothing_in_memory() {
    let dir = on_a_drive();
    let path = file_of(&dir, SIZE);
    run(async {
        let disk = disk(CHUNK);
        // A pipe that nobody writes to: a drive that does not answer.
        let (from, mut to) = io::pipe().unwrap();
        let stalled = Rc::new(OpenFile::of_pipe(
            File::from(from.as_fd().try_clone_to_owned().unwrap()),
            1000,
            None,
        ));
        let mut streams: Vec<_> = (0..8)
            .map(|_| disk.stream(&stalled, Slice { offset: 0, len: 1000 }))
            .collect();
        let cx = &mut Context::from_waker(Waker::noop());
        for stream in &mut streams {
            assert!(stream.poll_next(cx).is_pending());
        }
        tokio::task::yield_now().await;
        let file = open(&path, Warmth::Cold);
        assert!(collect(&disk, &file, 0, SIZE as u64).await.unwrap() == content(SIZE));
        fs::read(&path).unwrap();
        let slice = Slice {
            offset: 0,
            len: SIZE as u64,
        };
        assert_eq!(disk.resident(&open(&path, Warmth::Cold), slice), slice.len);
        let first = streams.swap_remove(0);
        drop(streams);
        to.write_all(&[9; 8000]).unwrap();
        let mut first = first;
        let piece = pin!(first.next()).await.unwrap().unwrap();
        assert_eq!(*piece, [9; 1000]);
        drop(piece);
        settle(&disk).await;
        assert!(matches!(first.poll_next(cx), Poll::Ready(None)));
    });
}

#[test]
fn who_waits_for_a_drive_that_was_given_up_is_told() {
    use crate::drive::Drive;
    run(async {
        let disk = disk(CHUNK);
        let drive = Arc::new(Drive::new(0));
        let (from, _to) = io::pipe().unwrap();
        let from = File::from(from.as_fd().try_clone_to_owned().unwrap());
        let stalled = Rc::new(OpenFile::of_pipe(from, 1000, Some(Arc::clone(&drive))));
        let whole = Slice { offset: 0, len: 1000 };
        let mut stream = disk.stream(&stalled, whole);
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(stream.poll_next(cx).is_pending());
        while drive.waits() < std::time::Duration::from_millis(1) {
            tokio::task::yield_now().await;
        }
        assert_eq!(drive.under_way(), 1);
        drive.give_up();
        disk.look_after();
        assert!(matches!(stream.next().await, Some(Err(ReadError::Failed(_)))));
        let mut late = disk.stream(&stalled, whole);
        assert!(matches!(late.next().await, Some(Err(ReadError::Failed(_)))));
    });
}
