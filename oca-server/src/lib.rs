//! The Nightfill appliance: sends bytes, fills itself from its plan, reports.

pub mod access_log;
pub mod admin;
pub mod appliance;
pub mod cli;
mod clock;
pub mod config;
pub mod control;
mod counters;
mod disk;
pub mod doctor;
pub mod drain;
pub mod drive;
pub mod drive_watch;
pub mod drives_command;
mod files;
pub mod fill;
#[doc(hidden)]
pub mod fuzzing;
mod http;
pub mod limits;
mod listen;
pub mod machine;
pub mod metrics;
pub mod namespace;
pub mod plan_watch;
mod pool;
pub mod quic;
pub mod report;
pub mod serve;
pub mod server;
pub mod signals;
pub mod store;
mod sys;
pub mod tls;
pub mod traffic;
mod worker;
