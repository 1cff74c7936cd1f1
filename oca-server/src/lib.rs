//! The Nightfill appliance: sends bytes, fills itself from its plan, reports.

pub mod access_log;
pub mod admin;
pub mod cli;
mod clock;
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
mod sys;
mod tls;
pub mod traffic;
mod worker;
