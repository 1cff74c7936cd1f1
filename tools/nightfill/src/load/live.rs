//! The line that tells how a run goes, on a terminal only.

use super::tally::Live;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::IsTerminal,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

/// How often it is drawn anew.
pub(super) const EVERY: Duration = Duration::from_millis(500);

/// The line, and what it said last.
pub(super) struct LiveLine {
    bar: Option<ProgressBar>,
    began: Instant,
    last: (Instant, u64, u64),
}

impl LiveLine {
    /// On standard error, if that is a terminal.
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is well-formed"));
            bar
        });
        let now = Instant::now();
        Self {
            bar,
            began: now,
            last: (now, 0, 0),
        }
    }

    /// Draws it.
    pub(super) fn draw(&mut self, live: &Live) {
        let Some(bar) = &self.bar else { return };
        let now = Instant::now();
        let (requests, bytes) = (live.requests.load(Relaxed), live.bytes.load(Relaxed));
        let (then, requests_then, bytes_then) = self.last;
        let seconds = (now - then).as_secs_f64().max(f64::EPSILON);
        self.last = (now, requests, bytes);
        bar.set_message(format!(
            "{:>6.1} s  {:>7.3} GB/s  {:>8.0} requests/s  {requests} done  {} idle  {} errors",
            self.began.elapsed().as_secs_f64(),
            (bytes - bytes_then) as f64 / 1e9 / seconds,
            (requests - requests_then) as f64 / seconds,
            live.idle.load(Relaxed),
            live.errors.load(Relaxed),
        ));
        bar.tick();
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
