//! Which appliances should serve this client this title, in which order, and why.
//!
//! [`Index`] is a [`FleetSnapshot`](cdn_types::api::v1::FleetSnapshot) made ready for look-ups: a prefix table, a
//! presence bitmap an appliance, the required objects a title. [`rank()`] reads it and nothing else: no clock, no
//! random number, no state. The same index, client, title and options therefore give the same list on every replica
//! and years later from a log, which is what lets a session be steered by any of them and a decision be replayed.

pub mod explain;
pub mod index;
pub mod rank;
pub mod rendezvous;
pub mod routes;

pub use explain::{Explanation, explain};
pub use index::{ApplianceIx, Index, IndexError, SiteIx, TitleIx};
pub use rank::{DropReason, Dropped, Headroom, Options, RankError, Ranked, Ranking, Tier, rank};
