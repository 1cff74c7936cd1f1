//! Micro benches on the cores; the benches themselves are in `benches/`.
