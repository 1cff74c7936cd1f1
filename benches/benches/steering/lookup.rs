//! The table: loading it appliance by appliance, one batch more, look-ups; prefix-trie's joint map beside it.

use super::feed::Feed;
use crate::{per_second, rss_mib, timed};
use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;
use std::hint::black_box;
use steering_core::routes::{RouteBatch, RouteBuilder, RouteTable};

/// Builds the table of a feed.
pub fn build(feed: &Feed) -> (RouteBuilder, RouteTable) {
    let mut builder = RouteBuilder::new();
    let (mut routes, mut took) = (0, std::time::Duration::ZERO);
    for n in 0..feed.appliances() {
        let batch = feed.batch(n);
        let start = std::time::Instant::now();
        routes += builder
            .apply(&Feed::appliance(n), &batch)
            .expect("a batch of this feed")
            .announced;
        took += start.elapsed();
    }
    println!(
        "load {routes} routes: {:.1} s, RSS {} MiB",
        took.as_secs_f64(),
        rss_mib()
    );
    let table = timed("publish the first table", || builder.publish());
    let (sets, attributes) = builder.distinct();
    println!(
        "{sets} sets of routes, {attributes} attributes, {} ranges",
        table.range_count()
    );
    (builder, table)
}

pub fn run(feed: &Feed, full: bool) {
    let clients = feed.clients(1 << 20);
    let of = |n: usize| clients[n.wrapping_mul(7919) & (clients.len() - 1)];
    {
        let mut trie: JointPrefixMap<IpNet, u32> = JointPrefixMap::new();
        timed("prefix-trie: insert", || {
            for (at, (net, _)) in feed.networks.iter().enumerate() {
                trie.insert(*net, at as u32);
            }
        });
        per_second("prefix-trie: longest match", full, |n| {
            black_box(trie.get_lpm(&IpNet::from(of(n))));
        });
        per_second("prefix-trie: all networks around", full, |n| {
            black_box(trie.cover(&IpNet::from(of(n))).count());
        });
    }
    let (mut builder, table) = build(feed);
    let holders = |c| {
        table
            .covering(c)
            .iter()
            .map(|c| table.holders_of(&c).count())
            .sum::<usize>()
    };
    let candidates: usize = clients.iter().map(|c| holders(*c)).sum();
    println!(
        "{:.1} candidates a client",
        candidates as f64 / clients.len() as f64
    );
    per_second("ranges: all candidates", full, |n| {
        black_box(table.covering(of(n)).iter().last());
    });
    per_second("the loop alone", full, |n| {
        black_box(of(n));
    });
    let mut small: RouteBatch = feed.batch(0);
    small.changes.truncate(100);
    for (n, change) in small.changes.iter_mut().enumerate() {
        change.1 = if n % 2 == 0 { None } else { Some(0) };
    }
    timed("change 100 routes", || builder.apply(&Feed::appliance(0), &small)).expect("a batch of this feed");
    let next = timed("publish again", || builder.publish());
    timed("forget an appliance", || builder.forget(&Feed::appliance(7)));
    let last = timed("publish again", || builder.publish());
    drop((table, next));
    timed("after the old tables", || drop(last));
}
