//! The Nightfill appliance: sends bytes, fills itself from its plan, reports.

pub mod config;
pub mod drain;
pub mod namespace;
pub mod store;
pub mod traffic;
