//! Which core each worker runs on. A byte should not cross from one memory domain (node) to another on its way from the
//! drive to the network card: the link between domains is the first thing that fills up on a large appliance. So workers
//! go where the cards are, by the cards' speed, and each is told which port and drives are near. Its memory follows by
//! itself: the kernel gives a page from the node of the core that first writes to it, and a worker makes all it has on
//! its own core.
//!
//! In this order, one worker a processor: whole cores beside a network card, whole cores elsewhere, then the second
//! hardware threads of both. On a machine with one node, or with other nodes than the profile says, nothing is known that
//! could be better than the kernel's own order.

use cdn_types::{BitsPerSecond, profile::HardwareProfile};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

/// A logical processor, by the kernel's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub usize);

/// A memory domain, by the kernel's number, which profiles use too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A network port of the profile, counted over its `[[nic]]` groups from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

/// A drive of the profile, counted over its `[[disk]]` groups from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Drive(pub u32);

/// A processor that this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub id: CpuId,
    /// Its memory domain.
    pub node: NodeId,
    /// The first of the processors that share its physical core; itself, if it is alone there or the first.
    pub core: CpuId,
}

/// The machine as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Memory domains with processors, also those that this process may not use.
    pub nodes: u32,
    /// Processors that it may use, by number.
    pub cpus: Vec<Cpu>,
}

/// A queue of a network port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// The port.
    pub port: Port,
    /// 0-based.
    pub index: u32,
}

/// Where one worker runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The processor.
    pub cpu: CpuId,
    /// Its memory domain.
    pub node: NodeId,
    /// The near queue that is this worker's; none when all ports are far.
    pub queue: Option<Queue>,
    /// Drives of the same domain.
    pub drives: Vec<Drive>,
}

/// A seat for each worker, or none at all: the kernel then places the threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    seats: Vec<Seat>,
}

/// Places `workers` of an appliance with that `profile`. With fewer processors than workers nobody gets a seat.
pub fn placement(profile: &HardwareProfile, machine: &Topology, workers: usize) -> Placement {
    if machine.cpus.len() < workers {
        return Placement::default();
    }
    let told = machine.nodes == profile.numa_nodes;
    let near = if told { Near::of(profile) } else { Near::default() };
    let cpus = if told && machine.nodes > 1 {
        by_node(&near, &machine.cpus, workers)
    } else {
        machine.cpus[..workers].to_vec()
    };
    let mut seated = BTreeMap::<NodeId, u32>::new();
    let seats = cpus.into_iter().map(|cpu| {
        let turn = seated.entry(cpu.node).or_default();
        let queue = near.queue(cpu.node, *turn);
        *turn += 1;
        Seat {
            cpu: cpu.id,
            node: cpu.node,
            queue,
            drives: near.drives.get(&cpu.node).cloned().unwrap_or_default(),
        }
    });
    Placement {
        seats: seats.collect(),
    }
}

/// What the profile attaches to each node.
#[derive(Default)]
struct Near {
    ports: BTreeMap<NodeId, Vec<Port>>,
    speed: BTreeMap<NodeId, BitsPerSecond>,
    drives: BTreeMap<NodeId, Vec<Drive>>,
}

impl Near {
    fn of(profile: &HardwareProfile) -> Self {
        let mut near = Self::default();
        let mut next = 0;
        for nic in &profile.nic {
            let node = NodeId(nic.numa);
            let ports = (next..next + nic.count).map(Port);
            near.ports.entry(node).or_default().extend(ports);
            let speed = near.speed.entry(node).or_insert(BitsPerSecond(0));
            speed.0 += nic.speed.0 * u64::from(nic.count);
            next += nic.count;
        }
        next = 0;
        for disk in &profile.disk {
            let drives = (next..next + disk.count).map(Drive);
            near.drives.entry(NodeId(disk.numa)).or_default().extend(drives);
            next += disk.count;
        }
        near
    }

    fn speed(&self, node: NodeId) -> u64 {
        self.speed.get(&node).map_or(0, |speed| speed.0)
    }

    /// Ports take turns, so that a node's workers share them evenly.
    fn queue(&self, node: NodeId, turn: u32) -> Option<Queue> {
        let ports = self.ports.get(&node)?;
        let count = u32::try_from(ports.len()).ok().filter(|count| *count > 0)?;
        Some(Queue {
            port: ports[(turn % count) as usize],
            index: turn / count,
        })
    }
}

/// The processors that are taken, in the order of the module's prose.
fn by_node(near: &Near, cpus: &[Cpu], workers: usize) -> Vec<Cpu> {
    let (near_port, far): (Vec<Cpu>, Vec<Cpu>) =
        cpus.iter().copied().partition(|cpu| near.speed(cpu.node) > 0);
    let whole = |cpus: &[Cpu]| -> (Vec<Cpu>, Vec<Cpu>) {
        let mut seen = BTreeSet::new();
        cpus.iter().copied().partition(|cpu| seen.insert(cpu.core))
    };
    let ((near_cores, near_threads), (far_cores, far_threads)) = (whole(&near_port), whole(&far));
    let mut given = BTreeMap::new();
    let mut taken = Vec::with_capacity(workers);
    for tier in [near_cores, far_cores, near_threads, far_threads] {
        take(&tier, near, workers, &mut given, &mut taken);
    }
    taken
}

/// Weight of a node without a port: in a tier of such nodes all have the same.
const FAR: u64 = 1 << 40;

/// Takes processors of a tier until there are `workers`. The next goes to the node with the most network speed for a
/// worker (D'Hondt's method: every node gets at least its share rounded down, and one more worker moves no other).
fn take(tier: &[Cpu], near: &Near, workers: usize, given: &mut BTreeMap<NodeId, u64>, taken: &mut Vec<Cpu>) {
    let mut left = BTreeMap::<NodeId, VecDeque<Cpu>>::new();
    for cpu in tier {
        left.entry(cpu.node).or_default().push_back(*cpu);
    }
    while taken.len() < workers {
        let weight = |node| Some(near.speed(node)).filter(|speed| *speed > 0).unwrap_or(FAR);
        let share = |node: NodeId| weight(node) / (given.get(&node).unwrap_or(&0) + 1);
        let next = left
            .keys()
            .copied()
            .max_by_key(|node| (share(*node), Reverse(*node)));
        let Some(node) = next else { return };
        let Some(cpu) = left.get_mut(&node).and_then(VecDeque::pop_front) else {
            left.remove(&node);
            continue;
        };
        *given.entry(node).or_default() += 1;
        taken.push(cpu);
    }
}

impl Placement {
    /// The seats, one a worker in order; empty when the kernel places the threads.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// The processor of a worker.
    pub fn cpu(&self, worker: usize) -> Option<CpuId> {
        self.seats.get(worker).map(|seat| seat.cpu)
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.seats.is_empty() {
            return f.write_str("by the kernel: more workers than processors");
        }
        let mut nodes = BTreeMap::<NodeId, Vec<&Seat>>::new();
        for seat in &self.seats {
            nodes.entry(seat.node).or_default().push(seat);
        }
        for (i, (node, seats)) in nodes.iter().enumerate() {
            let numbers = |all: &mut dyn Iterator<Item = usize>| ranges(all.collect());
            let cpus = numbers(&mut seats.iter().map(|s| s.cpu.0));
            let ports = numbers(&mut seats.iter().filter_map(|s| Some(s.queue?.port.0 as usize)));
            let drives = numbers(&mut seats[0].drives.iter().map(|d| d.0 as usize));
            let comma = if i > 0 { "; " } else { "" };
            write!(f, "{comma}node {}: {} on cpu {cpus}", node.0, seats.len())?;
            write!(f, ", port {ports}, drive {drives}")?;
        }
        Ok(())
    }
}

/// `0-3,8`, or a dash for none.
fn ranges(mut numbers: Vec<usize>) -> String {
    numbers.sort_unstable();
    numbers.dedup();
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    let text: Vec<String> = runs
        .map(|run| match run {
            [one] => one.to_string(),
            run => format!("{}-{}", run[0], run[run.len() - 1]),
        })
        .collect();
    if text.is_empty() {
        "-".to_owned()
    } else {
        text.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn profile(name: &str) -> HardwareProfile {
        HardwareProfile::builtin(name).unwrap()
    }

    /// A machine as the kernel numbers it: first threads node by node, then second threads in the same order.
    fn machine(nodes: u32, cores: usize, threads: usize) -> Topology {
        let all = nodes as usize * cores;
        let cpu = |id: usize| Cpu {
            id: CpuId(id),
            node: NodeId(u32::try_from(id % all / cores).unwrap()),
            core: CpuId(id % all),
        };
        Topology {
            nodes,
            cpus: (0..all * threads).map(cpu).collect(),
        }
    }

    fn cpus(placement: &Placement) -> Vec<usize> {
        placement.seats().iter().map(|s| s.cpu.0).collect()
    }

    fn on(placement: &Placement, node: u32) -> usize {
        placement.seats().iter().filter(|s| s.node.0 == node).count()
    }

    #[test]
    fn on_one_node_workers_take_the_first_processors() {
        for name in ["laptop", "flash-2016", "flash-400-altra", "storage"] {
            let p = placement(&profile(name), &machine(1, 8, 2), 5);
            assert_eq!(cpus(&p), [0, 1, 2, 3, 4], "{name}");
            assert!(
                p.seats()
                    .iter()
                    .all(|s| s.queue.is_some() && !s.drives.is_empty())
            );
        }
        let few = placement(&profile("laptop"), &machine(1, 2, 1), 3);
        assert_eq!((few.seats().len(), few.cpu(0)), (0, None));
        assert_eq!(few.to_string(), "by the kernel: more workers than processors");
    }

    #[test]
    fn a_profile_of_another_machine_decides_nothing() {
        let p = placement(&profile("laptop"), &machine(2, 4, 1), 3);
        assert_eq!(cpus(&p), [0, 1, 2]);
        assert!(p.seats().iter().all(|s| s.queue.is_none() && s.drives.is_empty()));
        assert_eq!(
            cpus(&placement(&profile("proto-800"), &machine(4, 2, 1), 2)),
            [0, 1]
        );
    }

    #[test]
    fn workers_sit_beside_the_cards_and_share_their_ports() {
        // Four nodes; two ports each on 0 and 2.
        let (rome, machine) = (profile("flash-400-rome"), machine(4, 8, 2));
        let four = placement(&rome, &machine, 4);
        assert_eq!(cpus(&four), [0, 16, 1, 17]);
        let ports: Vec<_> = four.seats().iter().map(|s| s.queue.unwrap().port.0).collect();
        assert_eq!(ports, [0, 2, 1, 3]);
        assert_eq!(
            four.to_string(),
            "node 0: 2 on cpu 0-1, port 0-1, drive 0-4; node 2: 2 on cpu 16-17, port 2-3, drive 9-13"
        );
        let six = placement(&rome, &machine, 6);
        assert_eq!(
            six.seats()[4].queue,
            Some(Queue {
                port: Port(0),
                index: 1
            })
        );
    }

    #[test]
    fn then_come_other_cores_and_last_second_threads() {
        let (rome, machine) = (profile("flash-400-rome"), machine(4, 8, 2));
        let beside = placement(&rome, &machine, 16);
        assert_eq!((on(&beside, 0), on(&beside, 2)), (8, 8));
        let all_cores = placement(&rome, &machine, 32);
        assert!((0..4).all(|node| on(&all_cores, node) == 8));
        assert!(cpus(&all_cores).iter().all(|id| *id < 32), "no second thread yet");
        assert_eq!(all_cores.seats()[31].queue, None, "its ports are far");
        let more = placement(&rome, &machine, 40);
        assert_eq!(
            (on(&more, 0), on(&more, 1), on(&more, 2), on(&more, 3)),
            (12, 8, 12, 8)
        );
    }

    #[test]
    fn two_sockets_get_half_each() {
        let p = placement(&profile("proto-800"), &machine(2, 64, 2), 128);
        assert_eq!((on(&p, 0), on(&p, 1)), (64, 64));
        let queues: BTreeSet<_> = p
            .seats()
            .iter()
            .map(|s| (s.queue.unwrap().port, s.queue.unwrap().index))
            .collect();
        assert_eq!(queues.len(), 128, "each worker has a queue of its own");
    }

    #[test]
    fn processors_that_are_not_allowed_are_not_used() {
        let mut machine = machine(2, 8, 2);
        machine.cpus.retain(|cpu| cpu.id.0 >= 6 && cpu.id.0 != 9);
        let p = placement(&profile("proto-800"), &machine, 6);
        assert_eq!(
            cpus(&p),
            [6, 8, 7, 10, 16, 11],
            "node 0 has whole cores 6, 7 and, by their other thread, 0 to 5"
        );
    }

    proptest! {
        #[test]
        fn each_processor_has_one_worker_and_nodes_get_their_share(
            speeds in prop::collection::vec(0u32..4, 1..6),
            cores in 1usize..12,
            threads in 1usize..3,
            share in 0f64..=1.0,
        ) {
            let mut p = profile("flash-400-rome");
            p.numa_nodes = u32::try_from(speeds.len()).unwrap();
            p.disk.clear();
            let nic = p.nic[0].clone();
            let nics = speeds.iter().zip(0..).filter(|(count, _)| **count > 0);
            p.nic = nics.map(|(count, numa)| cdn_types::profile::Nic { count: *count, numa, ..nic.clone() }).collect();
            let machine = machine(p.numa_nodes, cores, threads);
            let workers = (machine.cpus.len() as f64 * share) as usize;
            let placed = placement(&p, &machine, workers);
            prop_assert_eq!(placed.seats().len(), workers);
            let distinct: BTreeSet<_> = cpus(&placed).into_iter().collect();
            prop_assert_eq!(distinct.len(), workers);
            if workers > 0 && workers < machine.cpus.len() {
                let fewer = placement(&p, &machine, workers - 1);
                prop_assert_eq!(fewer.seats(), &placed.seats()[..workers - 1], "one more moves no other");
            }
            let total: u32 = speeds.iter().sum();
            if total > 0 && speeds.len() > 1 {
                for (speed, node) in speeds.iter().zip(0..) {
                    let floor = workers * *speed as usize / total as usize;
                    prop_assert!(on(&placed, node) >= floor.min(cores), "node {node} has less than its share");
                }
            }
            let whole = speeds.len() * cores;
            if speeds.len() > 1 && workers <= whole {
                prop_assert!(cpus(&placed).iter().all(|id| *id < whole), "a second thread before a whole core");
            }
        }
    }
}
