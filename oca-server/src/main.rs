//! The Nightfill appliance: sends bytes, fills itself from its plan, reports.

fn main() {}
