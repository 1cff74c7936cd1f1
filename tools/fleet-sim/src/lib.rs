//! The fleet in virtual time, and seeded demand history.
