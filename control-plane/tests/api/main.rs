//! The control plane as its callers meet it: the real program on a free port, a real database, real HTTP.

#![allow(clippy::unwrap_used)] // all of it is a test, its helpers too

mod demand;
mod document;
mod durability;
mod harness;
mod joining;
mod life;
mod origin;
mod plans;
mod problems;
mod reports;
mod roles;
mod routes;
mod titles;
mod viewers;
