//! What wakes steering, and what inventories become.
