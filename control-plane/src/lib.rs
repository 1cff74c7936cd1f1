//! The fleet's registry: titles, sites, appliances and their reports, plans, tokens, and the pages that people open.
//!
//! It decides nothing and carries no byte of media: it keeps what others decide from. `store` is what outlives the
//! process, `fleet` the same in memory in the shape that steering asks for, `registry` the one place where both
//! change. `routes` are the calls of `cdn_types::api::v1`, thin: they read a request, ask the registry, write the
//! answer. Nothing stops when the control plane is away: appliances and steering go on with what they have.

pub mod app;
pub mod config;
pub mod metrics;

mod extract;
mod fleet;
mod limits;
mod linger;
mod long_poll;
mod openapi;
mod origin;
mod pages;
mod problem;
mod registry;
mod rib;
mod routes;
mod secret;
mod server;
mod store;
mod viewers;
