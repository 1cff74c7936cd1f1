//! Replays history to judge forecasts and plans: each day is planned on the past only and served by what came before,
//! beside baselines of the same storage and fill cap, and oracles that know the day.
//!
//! [`panel`] holds titles and demand and the view of the past; [`naive`] the baselines' forecasts and what a launch
//! calendar adds; [`store`] the plain way to change contents in a night, [`planned`] the planner's; [`cache`] the reactive
//! caches; [`bound`] the oracles; [`replay`] runs it all; [`survival`] takes appliances away; [`bootstrap`] and [`summary`] make
//! figures of it.

pub mod bootstrap;
pub mod bound;
pub mod cache;
pub mod naive;
pub mod panel;
pub mod planned;
pub mod replay;
pub mod store;
pub mod summary;
pub mod survival;
