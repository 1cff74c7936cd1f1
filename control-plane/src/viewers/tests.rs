//! What is kept, for how long, and what who asks late is told.

use super::*;
use cdn_types::viewers::{Network, SessionHash, SidHash};
use proptest::prelude::*;

const START: u64 = 1_000;

fn id(n: usize) -> OcaId {
    OcaId::new(format!("oca-{n}")).unwrap()
}

fn session(n: usize) -> SessionHash {
    let network = Network::of("192.0.2.1".parse().unwrap());
    SidHash::of(&n.to_string()).unwrap().within(network)
}

fn batch(boot: &str, number: u64, sessions: std::ops::Range<usize>) -> ViewerBatch {
    ViewerBatch {
        boot: boot.into(),
        number,
        seen: Sightings {
            arrived: sessions.map(session).collect(),
            ..Sightings::default()
        },
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn arrived(news: &ViewerNews) -> Vec<SessionHash> {
    news.reports.iter().flat_map(|r| r.seen.arrived.clone()).collect()
}

#[test]
fn a_batch_counts_once_and_a_new_boot_begins_anew() {
    let mut viewers = Viewers::new(START);
    assert!(viewers.take(&id(1), batch("a", 5, 0..1), seconds(0)));
    assert!(!viewers.take(&id(1), batch("a", 5, 1..2), seconds(0)));
    assert!(!viewers.take(&id(1), batch("a", 4, 1..2), seconds(0)));
    assert!(
        viewers.take(&id(2), batch("a", 4, 1..2), seconds(0)),
        "another appliance"
    );
    assert!(
        viewers.take(&id(1), batch("b", 1, 2..3), seconds(0)),
        "another run"
    );
    let news = viewers.since(START, seconds(2));
    assert_eq!(arrived(&news), [0, 1, 2].map(session));
    assert_eq!((news.generation, news.missed), (START + 3, false));
    assert!(news.reports.iter().all(|r| r.age_ms == 2000));
}

#[test]
fn a_minute_is_kept_and_who_asks_later_hears_that_something_is_missed() {
    let mut viewers = Viewers::new(START);
    viewers.take(&id(1), batch("a", 1, 0..1), seconds(0));
    viewers.take(&id(1), batch("a", 2, 1..2), seconds(50));
    assert_eq!(arrived(&viewers.since(0, seconds(50))), [0, 1].map(session));
    assert_eq!(
        arrived(&viewers.since(0, seconds(70))),
        [1].map(session),
        "old is not told"
    );
    viewers.take(&id(1), batch("a", 3, 2..3), seconds(70));
    assert_eq!(viewers.items(), 2);
    let late = viewers.since(START, seconds(70));
    assert!(late.missed);
    assert_eq!(arrived(&late), [1, 2].map(session));
    assert!(!viewers.since(START + 1, seconds(70)).missed);
    assert!(
        !viewers.since(0, seconds(70)).missed,
        "who begins has missed nothing"
    );
    assert!(
        viewers.since(9 * START, seconds(70)).missed,
        "numbers of another run"
    );
}

#[test]
fn no_flood_makes_it_grow() {
    let mut viewers = Viewers::new(START);
    for n in 1..=limits::VIEWER_ITEMS as u64 / 8000 + 3 {
        viewers.take(&id(1), batch("a", n, 0..8000), seconds(0));
        assert!(viewers.items() <= limits::VIEWER_ITEMS);
    }
    assert!(viewers.since(START, seconds(0)).missed);
    for n in 0..limits::VIEWER_REPORTS as u64 + 10 {
        viewers.take(&id(2), batch("a", n, 0..0), seconds(0));
    }
    assert_eq!(viewers.told.len(), limits::VIEWER_REPORTS);
}

proptest! {
    /// Who asks often enough hears everything once, whatever comes when.
    #[test]
    fn who_follows_hears_everything_once(steps in prop::collection::vec((0u64..20, any::<bool>()), 1..80)) {
        let (mut viewers, mut now, mut since) = (Viewers::new(START), seconds(0), START);
        let mut heard = Vec::new();
        for (n, (passed, asks)) in steps.iter().enumerate() {
            now += seconds(*passed);
            viewers.take(&id(n % 3), batch("a", n as u64, n..n + 1), now);
            if *asks || n + 1 == steps.len() {
                let news = viewers.since(since, now);
                since = news.generation;
                if news.missed {
                    heard.clear(); // only who was silent for a minute
                    heard.extend((0..=n).map(session).take(n + 1 - news.reports.len()));
                }
                heard.extend(arrived(&news));
            }
        }
        let all: Vec<_> = (0..steps.len()).map(session).collect();
        prop_assert_eq!(heard, all);
    }
}
