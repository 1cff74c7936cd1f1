//! A thread that looks after what TLS reads from files: certificates are swapped when theirs change, ticket keys are
//! changed when it is time.

use super::{Tls, identity::Swap, tickets};
use crate::metrics::Metrics;
use std::{
    fs, io,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

/// Time between two looks at the files.
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
pub fn start(tls: Tls, metrics: &Arc<Metrics>) -> io::Result<Watch> {
    let (stop, stopped) = mpsc::channel::<()>();
    observe(metrics);
    let metrics = Arc::clone(metrics);
    thread::Builder::new()
        .name("tls-watch".to_owned())
        .spawn(move || {
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                look(&tls, &metrics);
            }
        })?;
    Ok(Watch { _stop: stop })
}

fn look(tls: &Tls, metrics: &Metrics) {
    let outcome = match tls.identities.look_again() {
        Swap::Unchanged => None,
        Swap::Swapped => {
            tracing::info!("new certificates are used from now on");
            Some("swapped")
        }
        Swap::Refused(error) => {
            tracing::warn!(%error, "changed certificates cannot be used: the old ones stay");
            Some("refused")
        }
    };
    if let Some(outcome) = outcome {
        metrics
            .counter("oca_tls_certificate_swaps_total", &[outcome])
            .inc();
    }
    if let Err(error) = tls.tickets.turn(tickets::now()) {
        tracing::warn!(%error, "cannot keep the new ticket keys: sessions will not be resumed after a restart");
    }
}

/// Shows what the kernel says of its sessions, where it has any.
fn observe(metrics: &Metrics) {
    metrics.on_scrape(|m| {
        let stat = fs::read_to_string("/proc/net/tls_stat").unwrap_or_default();
        for (label, name) in [("software", "TlsCurrTxSw"), ("card", "TlsCurrTxDevice")] {
            let value = stat
                .lines()
                .find_map(|l| l.strip_prefix(name)?.trim().parse::<f64>().ok());
            m.gauge("oca_tls_kernel_sessions", &[label])
                .set(value.unwrap_or(0.0));
        }
    });
}
