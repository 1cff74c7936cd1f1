//! A thread that looks after the key file, so that keys are rotated while requests go on.

use super::{Signing, Swap};
use crate::metrics::Metrics;
use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

/// Time between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    _stop: Sender<()>,
}

/// Starts to watch.
///
/// # Errors
/// When there can be no further thread.
pub fn start(signing: Arc<Signing>, metrics: Arc<Metrics>) -> io::Result<Watch> {
    let (stop, stopped) = mpsc::channel::<()>();
    thread::Builder::new()
        .name("signing-watch".to_owned())
        .spawn(move || {
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                look(&signing, &metrics);
            }
        })?;
    Ok(Watch { _stop: stop })
}

fn look(signing: &Signing, metrics: &Metrics) {
    let outcome = match signing.look_again() {
        Swap::Unchanged => return,
        Swap::Swapped => {
            tracing::info!("new signing keys are used from now on");
            "swapped"
        }
        Swap::Refused(error) => {
            tracing::warn!(%error, "changed signing keys cannot be used: the old ones stay");
            "refused"
        }
    };
    metrics.counter("oca_signing_key_swaps_total", &[outcome]).inc();
}
