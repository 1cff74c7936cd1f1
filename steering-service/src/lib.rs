//! Which appliances for this viewer: the shell around `steering-core`.
//!
//! It keeps the newest fleet snapshot at hand and answers players in the forms that they understand: a ranked list in
//! JSON, a redirect, a personalised HLS or DASH manifest, and the content steering list that such a manifest names.
//! What it remembers
//! of sessions' reports may be lost at any time; all else a snapshot rebuilds.

pub mod app;
pub mod cmcd;
pub mod config;
pub mod decisions;
pub mod dns;
pub mod experiments;
pub mod feedback;
pub mod fleet;
pub mod http;
pub mod key_file;
pub mod manifest;
pub mod metrics;
pub mod policy;
pub mod poll_rate;
pub mod random;
pub mod replay;
pub mod report;
pub mod session;
pub mod signing;
pub mod steering_list;
