//! The operator's command line: packs films, publishes them, and asks the running fleet about itself.
//!
//! Each command is a module that can also be called from Rust, as the demo does; [`cli`] only parses arguments.

pub mod browser;
pub mod cli;
pub mod client;
pub mod commands;
pub mod coverage;
pub mod demo;
pub mod digests;
pub mod explain;
pub mod fleet;
pub mod load;
pub mod local;
pub mod pack;
pub mod profiles;
pub mod progress;
pub mod publish;
pub mod steer;
pub mod table;
pub mod verify;
