//! The Nightfill appliance: sends bytes, fills itself from its plan, reports.

pub mod access_log;
pub mod admin;
pub mod cli;
mod clock;
pub mod config;
mod counters;
pub mod drain;
mod files;
mod http;
pub mod limits;
mod listen;
pub mod machine;
pub mod metrics;
pub mod namespace;
mod pool;
pub mod serve;
pub mod server;
pub mod signals;
pub mod store;
mod tls;
pub mod traffic;
mod worker;
