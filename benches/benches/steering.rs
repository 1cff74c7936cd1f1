//! What steering costs at the size of the internet: building and changing a table of 1.2 million networks, finding a
//! client in it, ranking, doing so while tables are swapped, and telling other networks. Prints; nothing here is
//! asserted, since a machine that is busy with something else would fail it.
//!
//! `cargo bench -p nightfill-benches --bench steering`; without `--bench` (as `cargo test --benches` runs it) a
//! hundredth of the size, to show that it still works. Memory is in large pages, as the service's unit has it; with
//! `GLIBC_TUNABLES=` in the environment it is not.

mod steering {
    pub mod advertisement;
    pub mod feed;
    pub mod lookup;
    pub mod ranking;
}

use std::{
    env,
    process::{Command, ExitCode},
    time::Instant,
};
use steering::{advertisement, feed::Feed, lookup, ranking};

/// What packaging/systemd/steering-service.service sets. The allocator reads it before `main`.
const LARGE_PAGES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

/// Parts that can be asked for by name; without a name all are run.
const PARTS: [&str; 4] = ["table", "growth", "rank", "advertisement"];

fn main() -> ExitCode {
    let full = env::args().any(|a| a == "--bench");
    let (name, value) = LARGE_PAGES;
    if full && env::var_os(name).is_none() {
        return again_with(name, value);
    }
    println!("{name}={}", env::var(name).unwrap_or_default());
    let feed = Feed::new(if full { 1 } else { 100 });
    println!(
        "{} networks, {} appliances in {} sites",
        feed.networks.len(),
        feed.appliances(),
        feed.sites
    );
    let wanted = |name: &str| !env::args().any(|a| PARTS.contains(&a.as_str()) && a != name);
    if wanted("table") {
        lookup::run(&feed, full);
    }
    if wanted("growth") {
        ranking::growth(full);
    }
    if wanted("rank") {
        ranking::run(&feed, full);
    }
    if wanted("advertisement") {
        advertisement::run(&feed);
    }
    ExitCode::SUCCESS
}

/// This program once more with a variable in its environment.
fn again_with(name: &str, value: &str) -> ExitCode {
    let program = env::current_exe().expect("a program has a path");
    let status = Command::new(program)
        .args(env::args().skip(1))
        .env(name, value)
        .status();
    match status.expect("what runs here can be run again").code() {
        Some(0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs a piece of work, prints how long it took and the memory after it.
pub fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let made = work();
    let took = start.elapsed();
    println!(
        "{what}: {:.1} ms, RSS {} MiB",
        took.as_secs_f64() * 1e3,
        rss_mib()
    );
    made
}

/// Calls of `work` in a second of processor time on this thread: what others do on the machine costs it caches, but not
/// turns. Prints the median of five measurements of half a second, and the slowest and the fastest.
pub fn per_second(what: &str, full: bool, mut work: impl FnMut(usize)) {
    let (wanted, mut done) = (if full { 0.5 } else { 0.01 }, 0);
    let mut measured = || {
        let (start, before) = (cpu_seconds(), done);
        loop {
            for _ in 0..8192 {
                work(done);
                done += 1;
            }
            let used = cpu_seconds() - start;
            if used >= wanted {
                return (done - before) as f64 / used;
            }
        }
    };
    let mut rates: [f64; 5] = std::array::from_fn(|_| measured());
    rates.sort_unstable_by(f64::total_cmp);
    let [slowest, _, rate, _, fastest] = rates;
    println!(
        "{what}: {:.2} M/s ({:.2} to {:.2}), {:.0} ns",
        rate / 1e6,
        slowest / 1e6,
        fastest / 1e6,
        1e9 / rate
    );
}

/// Processor time of this thread.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = text.split_whitespace().next().and_then(|t| t.parse::<f64>().ok());
    ns.unwrap_or(0.0) / 1e9
}

/// Resident memory of this process.
pub fn rss_mib() -> u64 {
    status_mib("VmRSS:")
}

/// What the kernel says of this process's memory under a name.
pub fn status_mib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(name));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
