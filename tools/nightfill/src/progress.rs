//! How far a long step is: a bar on a terminal, a line now and then elsewhere, or nothing.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::IsTerminal,
    sync::atomic::{AtomicU32, Ordering},
};

/// Parts in which a bar counts.
const PARTS: u64 = 1000;
/// Without a terminal a line is written each time that this many per cent are done.
const LINE_EVERY_PERCENT: u32 = 25;

/// Shows how far one step is.
#[derive(Debug)]
pub enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// In a log.
    Lines {
        /// What is done.
        label: String,
        /// Last per cent written.
        written: AtomicU32,
    },
    /// Nowhere.
    Silent,
}

impl Progress {
    /// For standard error: a bar if that is a terminal, else lines.
    pub fn new(label: impl Into<String>) -> Self {
        let label = label.into();
        if !std::io::stderr().is_terminal() {
            return Self::Lines {
                label,
                written: AtomicU32::new(0),
            };
        }
        let style = ProgressStyle::with_template("{msg:24} [{bar:40}] {percent:>3} % {eta:>5}")
            .expect("the template is well-formed")
            .progress_chars("█▌ ");
        let bar = ProgressBar::with_draw_target(Some(PARTS), ProgressDrawTarget::stderr());
        bar.set_style(style);
        bar.set_message(label);
        Self::Bar(bar)
    }

    /// `done` of the step, 0 to 1.
    pub fn fraction(&self, done: f64) {
        match self {
            Self::Bar(bar) => bar.set_position((done * PARTS as f64) as u64),
            Self::Lines { label, written } => {
                let percent = (done * 100.0) as u32 / LINE_EVERY_PERCENT * LINE_EVERY_PERCENT;
                if written.fetch_max(percent, Ordering::Relaxed) < percent {
                    eprintln!("{label}: {percent} %");
                }
            }
            Self::Silent => {}
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
