//! Decisions of the appliance: ranges, conditions, responses, budgets, fill scheduling; pure.

pub mod budget;
pub mod etag;
pub mod media_type;
