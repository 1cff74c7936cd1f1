//! Routes as the control plane tells them, as this crate takes them in.

use super::{Attributes, Community, Origin, RouteBatch, SiteClass};
use cdn_types::api::v1::routes::{ApplianceRoutes, PeeringClass, RouteAttributes};

impl From<PeeringClass> for SiteClass {
    fn from(class: PeeringClass) -> Self {
        match class {
            PeeringClass::Embedded => Self::Embedded,
            PeeringClass::Private => Self::Private,
            PeeringClass::Exchange => Self::Exchange,
            PeeringClass::Transit => Self::Transit,
        }
    }
}

impl From<&RouteAttributes> for Attributes {
    fn from(told: &RouteAttributes) -> Self {
        let standard = told.communities.iter();
        let standard = standard.map(|c| Community::Standard((c >> 16) as u16, *c as u16));
        let large = told
            .large_communities
            .iter()
            .map(|[a, b, c]| Community::Large(*a, *b, *c));
        Self {
            class: told.class.into(),
            origin: Origin::Bgp,
            as_path_len: told.as_path_len.min(u32::from(u16::MAX)) as u16,
            neighbour_as: Some(told.neighbor_as),
            origin_as: told.origin_as,
            med: told.med,
            communities: standard.chain(large).collect(),
        }
    }
}

impl RouteBatch {
    /// The changes of one appliance; with `reset` they are all that it has.
    pub fn told(routes: &ApplianceRoutes, reset: bool) -> Self {
        let groups = routes.announced.iter().zip(0u32..);
        let withdrawn = routes.withdrawn.iter().map(|prefix| (*prefix, None));
        let announced =
            groups.flat_map(|(group, at)| group.prefixes.iter().map(move |prefix| (*prefix, Some(at))));
        Self {
            attributes: routes
                .announced
                .iter()
                .map(|group| (&group.attributes).into())
                .collect(),
            changes: withdrawn.chain(announced).collect(),
            reset,
        }
    }
}
