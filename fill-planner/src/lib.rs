//! Plans what each appliance shall hold tomorrow: the shell around fill-core. It reads demand, catalogue and fleet from
//! files or from the control plane, has fill-core plan, and writes or publishes the outcome.
//!
//! Two ways to run, both a single pass that ends: `plan` on files (nothing on the network) and `run` for cron
//! (nothing on disk but a lock, and what `--state`, `--textfile` and `--out` ask for). Everything that can go wrong has an exit code of its own, see [`error`].

pub mod adapters;
pub mod cli;
pub mod control;
pub mod diff;
pub mod error;
pub mod evaluate;
pub mod facts;
pub mod forecast;
pub mod history;
pub mod import;
pub mod load;
pub mod lock;
pub mod metrics;
pub mod model;
pub mod nightly;
pub mod nights;
pub mod output;
pub mod plan;
pub mod predict;
pub mod retry;
pub mod review;
pub mod rows;
pub mod run;
pub mod spread;
pub mod state;
pub mod textfile;
pub mod train;
pub mod urgent;
