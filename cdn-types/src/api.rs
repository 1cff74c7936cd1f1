//! Wire types between the programs, by version of the API.

pub mod v1;
