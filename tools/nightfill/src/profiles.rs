//! `nightfill profiles`: the built-in hardware profiles, in a table or one in full.

use crate::table::Table;
use cdn_types::{BitsPerSecond, profile::HardwareProfile};
use std::fmt::Write;

/// All profiles in a table.
pub fn list() -> String {
    let mut table = Table::new([
        "name", ">egress", ">safe", ">fill", ">storage", ">memory", ">cores", "about",
    ]);
    for p in HardwareProfile::names().filter_map(HardwareProfile::builtin) {
        table.row([
            p.name.clone(),
            p.max_egress.to_string(),
            p.safe_egress.to_string(),
            p.fill_rate.to_string(),
            p.storage().to_string(),
            p.memory.to_string(),
            p.cores.to_string(),
            p.about.clone(),
        ]);
    }
    table.to_string()
}

/// One profile in full; none if there is none of that name.
pub fn show(name: &str) -> Option<String> {
    let p = HardwareProfile::builtin(name)?;
    let mut out = format!("{}: {}\nsource: {}\n\n", p.name, p.about, p.source);
    let rate = |r: Option<BitsPerSecond>| r.map_or_else(|| "-".to_owned(), |r| r.to_string());
    for (key, value) in [
        ("cores", format!("{}, memory domains: {}", p.cores, p.numa_nodes)),
        ("memory", format!("{}, {} for the hot set", p.memory, p.ram_hot)),
        ("memory bandwidth", rate(p.memory_bandwidth)),
        (
            "egress",
            format!("{} at most, {} steered to it", p.max_egress, p.safe_egress),
        ),
        ("fill", p.fill_rate.to_string()),
        ("connections", p.connections.to_string()),
        ("TLS", format!("{:?}", p.tls).to_lowercase()),
        ("power", p.power.clone().unwrap_or_else(|| "-".to_owned())),
    ] {
        let _ = writeln!(out, "{key:17} {value}");
    }
    for n in &p.nic {
        let offload = if n.tls_offload { ", seals TLS" } else { "" };
        let _ = writeln!(
            out,
            "{:17} {} × {}, domain {}{offload}",
            "network", n.count, n.speed, n.numa
        );
    }
    for d in &p.disk {
        let class = format!("{:?}", d.class).to_lowercase();
        let _ = writeln!(
            out,
            "{:17} {} × {} {class}, domain {}, read {}",
            "drives",
            d.count,
            d.size,
            d.numa,
            rate(d.read)
        );
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_listed_and_shown() {
        let list = list();
        for name in HardwareProfile::names() {
            assert!(list.lines().any(|l| l.starts_with(name)), "{name}");
            assert!(show(name).is_some_and(|t| t.contains("source:")), "{name}");
        }
        assert_eq!(show("none"), None);
    }

    #[test]
    fn estimates_are_marked_as_such() {
        for p in HardwareProfile::names().filter_map(HardwareProfile::builtin) {
            let ours = p.source.starts_with("Nightfill's own choice");
            let told = p.source.contains("Stated: ") && p.source.contains("Estimated: ");
            assert!(ours || told, "{}: {}", p.name, p.source);
        }
    }
}
