//! Words to the service manager (sd_notify(3)): a datagram to the socket that `NOTIFY_SOCKET` names. Without one, or when
//! nobody listens, nothing is said and nothing is lost.

use crate::drain::Drain;
use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

/// Says `state`: lines as sd_notify(3) has them.
pub fn notify(state: &str) {
    if let Err(error) = send(state) {
        tracing::debug!(%error, state, "the service manager does not listen");
    }
}

fn send(state: &str) -> io::Result<()> {
    let Ok(name) = env::var("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let addr = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?; // a manager that is stuck must not stop us
    socket.send_to_addr(state.as_bytes(), &addr).map(|_| ())
}

/// This process is up.
pub fn ready() {
    notify("READY=1\nSTATUS=serving");
}

/// A new process is being tried.
pub fn reloading() {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let micros = now.map_or(0, |t| Duration::from(t).as_micros());
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=upgrading"));
}

/// Another process is the service from here on.
pub fn main_process(pid: u32) {
    notify(&format!("MAINPID={pid}\nSTATUS=upgraded"));
}

/// This process ends, and nobody takes its place.
pub fn stopping() {
    notify("STOPPING=1\nSTATUS=finishing what runs");
}

/// Says that the process is alive, twice in the time that the manager's watchdog allows, on the current tokio runtime;
/// until another process is the service.
pub fn keep_watchdog_quiet(drain: Drain) {
    let own = env::var("WATCHDOG_PID").map_or(true, |pid| pid.parse() == Ok(std::process::id()));
    let micros = env::var("WATCHDOG_USEC").ok().and_then(|t| t.parse().ok());
    let Some(micros) = micros.filter(|t| own && *t > 0) else {
        return;
    };
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_micros(micros) / 2);
        while !drain.is_handed_over() {
            notify("WATCHDOG=1");
            interval.tick().await;
        }
    });
}
