//! Every limit on what a caller may send or ask for, with its unit and reason.

use std::time::Duration;

/// Bytes of a small body: sites' and tokens' requests are hundreds of bytes.
pub const SMALL_BODY: usize = 64 * 1024;
/// Bytes of a site: 20,000 prefixes at 50 bytes.
pub const SITE_BODY: usize = 1024 * 1024;
/// Networks of one site: more than any one access network announces.
pub const SITE_PREFIXES: usize = 20_000;
/// Bytes of a title's registration: 70 bytes for each MiB of media, so 200 GB of renditions fit.
pub const TITLE_BODY: usize = 16 * 1024 * 1024;
/// Objects of one title: file-per-segment packing of ten hours in six renditions at six seconds.
pub const TITLE_OBJECTS: usize = 40_000;
/// Bytes of a report: a whole inventory of 400,000 objects at 67 bytes, and its demand.
pub const REPORT_BODY: usize = 32 * 1024 * 1024;
/// Objects that one appliance may hold: the largest appliance known (360 TB) full of objects of 1 GB, twofold.
pub const HELD_OBJECTS: usize = 720_000;
/// Rows of demand in one report: a day of hours for a busy appliance; what is above is cut and counted.
pub const REPORT_DEMAND: usize = 100_000;
/// Bytes of a batch of routes: 5,000 prefixes, each with attributes of its own and 64 communities of both kinds.
pub const ROUTE_BODY: usize = 16 * 1024 * 1024;
/// Routes of one appliance: the whole table of the Internet, grown by half.
pub const APPLIANCE_ROUTES: usize = 2_000_000;
/// Changes of routes that are remembered for those who ask for changes: 8 MB; who is further behind gets everything.
pub const ROUTE_CHANGES: usize = 250_000;
/// Bytes of a batch of what an appliance saw of viewers: 4,096 networks in twelve steps, and twice 8,192 sessions.
pub const VIEWER_BODY: usize = 2 * 1024 * 1024;
/// Time for which what appliances saw of viewers is kept for those who ask for it: steering asks at once.
pub const VIEWERS_KEPT: Duration = Duration::from_secs(60);
/// Entries of it that are kept, over all appliances: some 30 MB at most, of which sessions need 8 bytes, networks 80.
pub const VIEWER_ITEMS: usize = 500_000;
/// Batches of it that are kept: thousands of appliances, each once in a second or two.
pub const VIEWER_REPORTS: usize = 100_000;
/// Conditions of one appliance that are kept.
pub const CONDITIONS: usize = 64;
/// Characters of a text for people from outside that are kept.
pub const TEXT: usize = 1024;
/// Characters of the name of a boot.
pub const BOOT: usize = 64;
/// Bytes of a plan: 200,000 items at 320 bytes.
pub const PLAN_BODY: usize = 64 * 1024 * 1024;
/// Bytes of an import of history.
pub const IMPORT_BODY: usize = 64 * 1024 * 1024;
/// Rows of one import of history; send more in several calls.
pub const IMPORT_ROWS: usize = 200_000;
/// Bytes of a steering service's report.
pub const STEERING_BODY: usize = 8 * 1024 * 1024;
/// Counters in one steering service's report.
pub const STEERING_COUNTS: usize = 50_000;
/// Rows of demand in one answer; ask for fewer hours to get under it.
pub const DEMAND_ROWS: usize = 1_000_000;
/// Hours before now for which counts of a running process are taken: it keeps two days at most.
pub const COUNT_HOURS_BACK: i64 = 72;
/// Hours after now for which counts are taken: clocks that are a little ahead.
pub const COUNT_HOURS_AHEAD: i64 = 1;
/// Bytes or requests of one count: 2.5 Tbit/s for an hour; sums of many stay within 63 bits.
pub const COUNT_MAX: u64 = 1 << 50;
/// Hours that demand and decisions are kept: two years, so that a season can be compared with the last.
pub const KEEP_HOURS: i64 = 24 * 366 * 2;
/// Longest life of a join token, in seconds: 30 days, for hardware in the post.
pub const JOIN_TOKEN_SECONDS: u64 = 30 * 86_400;
/// Open connections; each costs a task and a buffer of some kB.
pub const CONNECTIONS: usize = 16_384;
/// Requests that wait for news at the same time.
pub const LONG_POLLS: usize = 8_192;
/// Time for the head of a request, and for a kept connection to send the next.
pub const HEADER_TIME: Duration = Duration::from_secs(75);
/// Time for the body of a request.
pub const BODY_TIME: Duration = Duration::from_secs(120);
/// Bytes of a refused body that are read so that the answer reaches its caller: the largest body that any call takes.
pub const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// Time for that.
pub const LINGER_TIME: Duration = Duration::from_secs(5);
/// Time that running requests get when the program is told to end.
pub const DRAIN_TIME: Duration = Duration::from_secs(10);
/// How long a presigned address of the origin store is good for: the longest single fetch of a large object.
pub const PRESIGNED_TIME: Duration = Duration::from_secs(3600);
