//! What all Nightfill programs agree on: ids, units, digests, titles, plans, hardware profiles, and the wire
//! types of the control plane's API (`api::v1`).
//!
//! Nothing here opens a file, a socket or a clock. Every type is parsed by a fallible constructor and is
//! valid from then on; every number between modules carries its unit in its type.

pub mod api;
pub mod digest;
pub mod id;
pub mod intern;
pub mod metric;
pub mod plan;
pub mod profile;
pub mod time;
pub mod title;
pub mod units;
pub mod viewers;
pub mod window;

pub use digest::{BLOCK_SIZE, Digester, ObjectDigest};
pub use id::{OcaId, PlanNumber, RegionId, SiteId, TitleId};
pub use time::Hour;
pub use units::{BitsPerSecond, Bytes};
pub use window::FillWindow;
