//! The fleet in virtual time, and seeded demand history. Everything that comes out of here is SIMULATED, and says so.
//!
//! [`history`] makes hourly demand for the objects of a real catalogue, so that a demonstration has two weeks of
//! past to plan from. [`nights`] runs a synthetic fleet night after night: plan with fill-core on the past alone, fill,
//! replay the next day through steering-core's ranking, count the bytes served by the viewer's own site. The same seed
//! gives the same figures.
//!
//! Its viewers follow [`taste`] (what) and [`day_curve`] (when). Of these only the day curve is fitted to measurements; the shapes of
//! taste are plausible, so results tell methods apart and say nothing of any real catalogue.
//!
//! [`world`] is the service that is fitted to public figures (list churn, regions in common, concentration, cold titles):
//! [`mod@evaluate`] replays its nights with the planner, baselines and oracles, [`world::export`] writes it as files.
//! [`scale`] times a night's planning for catalogues of up to millions of objects.

pub mod cli;
pub mod day_curve;
pub mod dice;
pub mod evaluate;
pub mod history;
pub mod nights;
pub mod output;
pub mod panel;
pub mod scale;
pub mod taste;
pub mod world;
