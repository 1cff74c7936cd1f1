//! SIGTERM and SIGINT: the first starts the end of the process, the second ends it at once. SIGUSR2 asks for an upgrade.

use crate::{drain::Drain, upgrade::Upgrades};
use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// Exit status after a second signal: the shell's for SIGTERM.
const KILLED: i32 = 143;

/// Watches both signals on the current tokio runtime, from this call on.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn stop_on_signals(drain: Drain) -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if !first {
                tracing::warn!("second signal: ending at once");
                std::process::exit(KILLED);
            }
            tracing::info!("stopping: no new connections, finishing what runs");
            drain.stop();
        }
    });
    Ok(())
}

/// Watches SIGUSR2 on the current tokio runtime, from this call on; what becomes of the upgrade is logged.
///
/// # Errors
/// When the handler cannot be installed.
pub fn upgrade_on_signal(upgrades: Upgrades) -> io::Result<()> {
    let mut usr2 = signal(SignalKind::user_defined2())?;
    tokio::spawn(async move {
        while usr2.recv().await.is_some() {
            let upgrades = upgrades.clone();
            tokio::spawn(async move { upgrades.ask().await });
        }
    });
    Ok(())
}
