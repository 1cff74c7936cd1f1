//! Wire types of what appliances hear by BGP: appliance → control plane → steering. Routes travel in groups, one for each
//! distinct set of attributes, since thousands of prefixes share one: that is shorter than a list of pairs, and the
//! reader gets each set once. An appliance tells its best route to a prefix, no other: the site class first, then the
//! AS path's length, then the MED (`oca_core::bgp::rib`).

use crate::{OcaId, SiteId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Most prefixes of one [`RouteBatch`], announced and withdrawn: some 100 kB.
pub const BATCH_PREFIXES: usize = 5_000;
/// Communities of one route that are told; a route with more tells its first.
pub const MOST_COMMUNITIES: usize = 64;
/// Prefixes that a list of examples names.
pub const EXAMPLES: usize = 10;

/// How an appliance is joined to the network that it hears a route from, best first: the first word in ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum PeeringClass {
    /// Inside the network of the viewers.
    Embedded,
    /// A private interconnect.
    Private,
    /// An exchange.
    Exchange,
    /// Paid transit.
    Transit,
}

impl PeeringClass {
    /// All, best first.
    pub const ALL: [Self; 4] = [Self::Embedded, Self::Private, Self::Exchange, Self::Transit];

    /// Its name on the wire and in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Private => "private",
            Self::Exchange => "exchange",
            Self::Transit => "transit",
        }
    }
}

impl std::str::FromStr for PeeringClass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|class| class.name() == text);
        found.ok_or_else(|| format!("`{text}` is none of embedded, private, exchange, transit"))
    }
}

/// What steering may weigh of a route. Equal sets are kept once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouteAttributes {
    /// Class of the neighbour that announces it.
    pub class: PeeringClass,
    /// ASes of the path as RFC 4271 §9.1.2.2 counts them: a set is one, a confederation none.
    pub as_path_len: u32,
    /// The path's first AS, or the neighbour's own if the path is empty. MEDs are comparable within one.
    pub neighbor_as: u32,
    /// The path's last AS; absent if the path is empty or ends in a set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin_as: Option<u32>,
    /// MULTI_EXIT_DISC; absent counts as 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// Communities (RFC 1997), rising; `AS << 16 | value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<u32>,
    /// Large communities (RFC 8092), rising.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub large_communities: Vec<[u32; 3]>,
}

wire! {
    /// Prefixes that share their attributes.
    pub struct RouteGroup {
        /// The attributes.
        pub attributes: RouteAttributes,
        /// The prefixes, rising.
        #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
        pub prefixes: Vec<IpNet>,
    }

    /// Changes of what an appliance hears, at most [`BATCH_PREFIXES`] prefixes. Batches are numbered within a boot; a
    /// repeated one changes nothing, a missing one is answered by the number that is wanted.
    pub struct RouteBatch {
        /// Name of this run of the process, as in its reports.
        pub boot: String,
        /// One above the last batch's, from 1.
        pub number: u64,
        /// A whole table begins with this batch. Until it ends, routes told before stay.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub reset: bool,
        /// The whole table ends with this batch: what was not told since `reset` is gone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub complete: bool,
        /// Routes that are new or have changed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub announced: Vec<RouteGroup>,
        /// Prefixes that are no longer heard.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
        pub withdrawn: Vec<IpNet>,
    }

    /// Answer to a batch.
    #[derive(Copy)]
    pub struct RouteBatchAnswer {
        /// Number of the batch that is wanted next; 0 = nothing is known of this boot, send a whole table. Any other
        /// than one above the batch asks for a whole table too.
        pub next: u64,
    }

    /// What changed of all routes since a generation.
    pub struct RouteChanges {
        /// Ask for changes since this one next time.
        pub generation: u64,
        /// The answer is everything: forget what was told before.
        pub reset: bool,
        /// Appliances with changes, sorted by id; after a `reset` all that have routes.
        pub appliances: Vec<ApplianceRoutes>,
    }

    /// Changes of one appliance's routes.
    pub struct ApplianceRoutes {
        /// The appliance.
        pub appliance: OcaId,
        /// Routes that are new or have changed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub announced: Vec<RouteGroup>,
        /// Prefixes that are no longer heard.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
        pub withdrawn: Vec<IpNet>,
    }

    /// Whether the appliances of a site hear the same prefixes.
    pub struct SiteRouteCheck {
        /// The site.
        pub site: SiteId,
        /// Prefixes that any of its appliances hears.
        pub prefixes: u64,
        /// Whether all hear all.
        pub consistent: bool,
        /// Its appliances, sorted by id.
        pub appliances: Vec<ApplianceRouteCheck>,
    }

    /// How one appliance differs from its site.
    pub struct ApplianceRouteCheck {
        /// The appliance.
        pub appliance: OcaId,
        /// Prefixes that it hears.
        pub prefixes: u64,
        /// Prefixes that others of the site hear and it does not.
        pub missing: u64,
        /// The first of them, at most [`EXAMPLES`].
        #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
        pub examples: Vec<IpNet>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_leaves_out_what_is_usual_and_reads_back() {
        let attributes = RouteAttributes {
            class: PeeringClass::Private,
            as_path_len: 2,
            neighbor_as: 64500,
            origin_as: Some(64501),
            med: None,
            communities: vec![],
            large_communities: vec![[64500, 1, 2]],
        };
        let batch = RouteBatch {
            boot: "b".into(),
            number: 3,
            reset: false,
            complete: false,
            announced: vec![RouteGroup {
                attributes,
                prefixes: vec!["192.0.2.0/24".parse().unwrap()],
            }],
            withdrawn: vec![],
        };
        let text = serde_json::to_string(&batch).unwrap();
        let expected = r#"{"boot":"b","number":3,"announced":[{"attributes":{"class":"private","as_path_len":2,"neighbor_as":64500,"origin_as":64501,"large_communities":[[64500,1,2]]},"prefixes":["192.0.2.0/24"]}]}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<RouteBatch>(&text).unwrap(), batch);
    }

    #[test]
    fn classes_are_ordered_best_first_and_read_by_name() {
        assert!(PeeringClass::ALL.is_sorted());
        for class in PeeringClass::ALL {
            assert_eq!(class.name().parse(), Ok(class));
            assert_eq!(serde_json::to_value(class).unwrap(), class.name());
        }
        assert!("pni".parse::<PeeringClass>().is_err());
    }
}
