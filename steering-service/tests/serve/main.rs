//! The real program on 127.0.0.1, asked as players and operators ask it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on shall fail where it stands"
)]

mod advertisement;
mod away;
mod circuits;
mod control;
mod decisions;
mod dns;
mod doors;
mod feedback;
mod fixture;
mod manifests;
mod policy;
mod program;
mod routes;
mod signing;
mod steering;
mod viewers;
