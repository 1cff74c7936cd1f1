//! The operator's command line: packs films, publishes them, and asks the running fleet about itself.
//!
//! Each command is a module that can also be called from Rust, as the demo does; [`cli`] only parses arguments.

pub mod cli;
pub mod pack;
pub mod progress;
