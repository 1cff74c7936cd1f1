//! Plans what each appliance shall hold tomorrow.

fn main() {}
