//! The ranking against tables and properties, through its public interface.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on shall fail where it stands"
)]

mod balance;
mod circuits;
mod fixture;
mod keys;
mod policies;
mod properties;
mod routes;
mod tables;
mod worlds;
