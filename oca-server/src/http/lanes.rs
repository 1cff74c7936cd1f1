//! The responses of one HTTP/2 connection: whose turn it is (RFC 9218), and how fast all together may go.
//!
//! A response waits while one that goes before it can go on. One that has not asked for bytes for a moment cannot: its
//! client keeps its window shut, and the others do not wait for that.

use cdn_types::BitsPerSecond;
use oca_core::{pacing, priority::Priority};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// How long a response that goes first is waited for without a sign of it.
pub const PATIENCE: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct Lane {
    priority: Priority,
    rate: Option<BitsPerSecond>,
    /// When it last asked for bytes, which it does as its window opens.
    asked: Instant,
    waiting: Option<Waker>,
}

/// The running responses, in the order in which they began.
#[derive(Debug, Default)]
pub struct Lanes {
    running: RefCell<BTreeMap<u64, Lane>>,
}

impl Lanes {
    /// A response begins; answers its number.
    pub fn enter(&self, priority: Priority, rate: Option<BitsPerSecond>, now: Instant) -> u64 {
        let mut running = self.running.borrow_mut();
        let number = running.last_key_value().map_or(0, |(last, _)| last + 1);
        let lane = Lane {
            priority,
            rate,
            asked: now,
            waiting: None,
        };
        running.insert(number, lane);
        number
    }

    /// Whether the response may go on; if not, it is woken when one before it has ended, and should ask again after
    /// [`PATIENCE`] in any case.
    pub fn poll_turn(&self, number: u64, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut running = self.running.borrow_mut();
        let Some(own) = running.get_mut(&number) else {
            return Poll::Ready(());
        };
        own.asked = now;
        let priority = own.priority;
        let goes_first = |(other, lane): (&u64, &Lane)| {
            let first = match *other < number {
                true => lane.priority.precedes(priority),
                false => lane.priority.urgency < priority.urgency,
            };
            first && *other != number && now.saturating_duration_since(lane.asked) < PATIENCE
        };
        if !running.iter().any(goes_first) {
            return Poll::Ready(());
        }
        if let Some(own) = running.get_mut(&number) {
            own.waiting = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// A response has ended: those that waited look again.
    pub fn leave(&self, number: u64) {
        let mut running = self.running.borrow_mut();
        running.remove(&number);
        for lane in running.values_mut() {
            if let Some(waker) = lane.waiting.take() {
                waker.wake();
            }
        }
    }

    /// The rate that is enough for all together; absent = as fast as it goes.
    pub fn rate(&self) -> Option<BitsPerSecond> {
        let running = self.running.borrow();
        pacing::together(running.values().map(|l| l.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority(text: &str) -> Priority {
        Priority::parse(text.as_bytes())
    }

    #[test]
    fn the_urgent_goes_first_unless_its_window_is_shut() {
        let (lanes, start) = (Lanes::default(), Instant::now());
        let mut cx = Context::from_waker(Waker::noop());
        let film = lanes.enter(priority("u=3"), None, start);
        let playlist = lanes.enter(priority("u=0"), None, start);
        assert!(lanes.poll_turn(film, start, &mut cx).is_pending());
        assert!(lanes.poll_turn(playlist, start, &mut cx).is_ready());
        let later = start + PATIENCE;
        assert!(
            lanes.poll_turn(film, later, &mut cx).is_ready(),
            "it asked for nothing in the meantime"
        );
        assert!(lanes.poll_turn(playlist, later, &mut cx).is_ready());
        assert!(lanes.poll_turn(film, later, &mut cx).is_pending());
        lanes.leave(playlist);
        assert!(lanes.poll_turn(film, later, &mut cx).is_ready());
    }

    #[test]
    fn equals_go_in_order_and_incremental_ones_take_turns() {
        let (lanes, now) = (Lanes::default(), Instant::now());
        let mut cx = Context::from_waker(Waker::noop());
        let [a, b] = [(); 2].map(|()| lanes.enter(priority("u=3"), None, now));
        let [c, d] = [(); 2].map(|()| lanes.enter(priority("u=4, i"), None, now));
        let mut free = |n| lanes.poll_turn(n, now, &mut cx).is_ready();
        assert_eq!([a, b, c, d].map(&mut free), [true, false, false, false]);
        lanes.leave(a);
        lanes.leave(b);
        assert_eq!([c, d].map(&mut free), [true, true]);
    }

    #[test]
    fn all_together_are_paced_only_if_each_is() {
        let (lanes, now) = (Lanes::default(), Instant::now());
        assert_eq!(lanes.rate(), None);
        let rate = |n| Some(BitsPerSecond(n));
        lanes.enter(priority(""), rate(3), now);
        lanes.enter(priority(""), rate(4), now);
        assert_eq!(lanes.rate(), rate(7));
        let free = lanes.enter(priority(""), None, now);
        assert_eq!(lanes.rate(), None);
        lanes.leave(free);
        assert_eq!(lanes.rate(), rate(7));
    }
}
