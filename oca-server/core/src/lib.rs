//! Decisions of the appliance: ranges, conditions, responses, budgets, fill scheduling; pure.

pub mod bgp;
pub mod budget;
pub mod cmcd;
pub mod conditional;
pub mod cors;
pub mod decision;
pub mod drive_choice;
pub mod etag;
pub mod fill;
pub mod fill_blocks;
pub mod fill_rate;
pub mod fill_room;
pub mod h3;
pub mod hot_set;
pub mod media_type;
pub mod pacing;
pub mod path;
pub mod placement;
pub mod priority;
pub mod range;
pub mod request;
pub mod viewers;
