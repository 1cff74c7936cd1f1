//! Which appliances should serve this client this title, in which order, and why.
//!
//! [`Index`] is all that a ranking reads: a [`FleetSnapshot`](cdn_types::api::v1::FleetSnapshot) made ready for look-ups
//! ([`fleet`]), the routes that appliances hear ([`routes`]), the operator's [`policy`], and measured [`throughput`].
//! [`rank()`] reads it and nothing else: no clock, no random number, no state. The same index, client, title and options
//! therefore give the same list on every replica and years later from a log, which is what lets a session be steered by
//! any of them and a decision be replayed.

mod bits;
pub mod circuit;
pub mod explain;
pub mod fleet;
pub mod footprint;
pub mod guard;
mod ids;
pub mod index;
pub mod key;
pub mod policy;
mod presence;
pub mod rank;
pub mod rendezvous;
pub mod routes;
mod scope;
mod spread;
pub mod throughput;

pub use explain::{Explanation, explain};
pub use index::{ApplianceIx, Index, IndexError, SiteIx, TitleIx};
pub use policy::Policy;
pub use rank::{DropReason, Dropped, Headroom, Options, RankError, Ranked, Ranking, Tier, rank, rank_into};
