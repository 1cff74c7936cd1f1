//! `GET /OC/FCI/advertisement`: what this network offers to another content delivery network (RFC 8008, capacity by RFC 9808): for
//! each site its networks and its egress, and how we can be asked to take viewers over. The path and the bearer are those of
//! Open Caching and of Traffic Control, so that an upstream that reads these reads us.
//!
//! Who asks must carry a JWT whose issuer has a key in `--cdni-keys` and whose audience is `--cdni-name`. Without these options the
//! door does not exist.

use super::{Problem, fleet};
use crate::{
    app::Shared,
    fleet::Fleet,
    key_file::{KeyFile, KeyFileError},
};
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cdn_types::{ObjectDigest, api::v1::ApplianceState, time::Timestamp};
use ipnet::IpNet;
use serde::{Serialize, Serializer};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use steering_core::{Index, SiteIx, footprint::footprints};
use url_signing::Verifier;

/// Who may ask, checked but not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdniConfig {
    /// Keys of the upstream networks.
    pub keys: PathBuf,
    /// Our name: the audience of their tokens.
    pub name: String,
    /// Whether the DNS door is open.
    pub dns: bool,
}

/// What the door needs.
pub struct Cdni {
    config: CdniConfig,
    /// Keys of the upstream networks.
    pub keys: KeyFile,
    /// The last answer and the fleet that it is of: a table of a million networks is not cut anew for every question.
    last: Mutex<Option<(Weak<Fleet>, Told)>>,
}

impl Cdni {
    /// Reads the keys.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn load(config: CdniConfig) -> Result<Self, KeyFileError> {
        let keys = KeyFile::load("--cdni-keys", config.keys.clone(), String::new(), |_, _| Ok(()))?;
        Ok(Self {
            config,
            keys,
            last: Mutex::default(),
        })
    }

    /// The upstream network that a request is from.
    fn caller(&self, headers: &HeaderMap) -> Result<String, Problem> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok());
        let bearer = bearer.and_then(|h| h.strip_prefix("Bearer "));
        let Some(token) = bearer else {
            return Err(Problem::unauthorized(
                "Send Authorization: Bearer and a JWT with iss, aud and exp.",
            ));
        };
        let keys = self.keys.keys();
        let verifier = Verifier {
            keys: &keys,
            audience: Some(&self.config.name),
        };
        let caller = verifier.caller(token.trim(), Timestamp::now().as_millisecond());
        caller
            .map(str::to_owned)
            .map_err(|why| Problem::unauthorized(format!("The bearer is not believed: {why}.")))
    }

    fn told(&self, fleet: &Arc<Fleet>) -> Told {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, told)) = &*last
            && of.upgrade().is_some_and(|of| Arc::ptr_eq(&of, fleet))
        {
            return told.clone();
        }
        *last = None; // makes room: both are large
        let text = Bytes::from(text(&fleet.index, self.config.dns));
        let told = Told {
            tag: format!("\"{}\"", ObjectDigest::of(&text).short()),
            text,
        };
        *last = Some((Arc::downgrade(fleet), told.clone()));
        told
    }
}

/// An answer.
#[derive(Clone)]
struct Told {
    text: Bytes,
    /// Its entity tag.
    tag: String,
}

/// Handles the call.
pub async fn advertisement(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(cdni) = shared.cdni.clone() else {
        return Err(Problem::not_found("Nothing is advertised here; see --cdni-keys."));
    };
    let caller = cdni.caller(&headers)?;
    let fleet = fleet(&shared)?;
    let told = tokio::task::spawn_blocking(move || cdni.told(&fleet)).await;
    let Told { text, tag } = told.map_err(|_| Problem::nobody("The advertisement could not be made."))?;
    tracing::debug!(%caller, bytes = text.len(), "advertised");
    let same = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|h| h == tag.as_str());
    let heads = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("private, no-cache"),
        ),
        (
            header::ETAG,
            HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes are a header"),
        ),
    ];
    Ok(match same {
        true => (StatusCode::NOT_MODIFIED, heads).into_response(),
        false => (heads, text).into_response(),
    })
}

/// What the fleet offers now, as JSON; `dns`: by names too.
pub fn text(index: &Index, dns: bool) -> Vec<u8> {
    let footprints = footprints(index);
    serde_json::to_vec(&advertise(index, &footprints, dns)).expect("names, numbers and networks are JSON")
}

/// The whole (RFC 8008 §4: a list of base advertisement objects).
#[derive(Debug, Serialize)]
struct Advertisement<'a> {
    capabilities: Vec<Capability<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Capability<'a> {
    capability_type: &'static str,
    capability_value: Value,
    footprints: Vec<Footprint<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Value {
    /// RFC 8008 §5.3.
    #[serde(rename_all = "kebab-case")]
    Protocols { delivery_protocols: Vec<&'static str> },
    /// RFC 8008 §5.5.
    #[serde(rename_all = "kebab-case")]
    Modes { redirection_modes: Vec<&'static str> },
    /// RFC 9808 §2.2.
    Limits { limits: Vec<Limit> },
}

/// RFC 9808 §2.2.1; egress in bit/s.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Limit {
    id: String,
    limit_type: &'static str,
    maximum_hard: u64,
    maximum_soft: u64,
}

/// RFC 8006 §4.2.2.2.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Footprint<'a> {
    footprint_type: &'static str,
    footprint_value: Networks<'a>,
}

/// Networks of one family, by site; lent, since there may be a million.
#[derive(Debug, Clone)]
struct Networks<'a>(Vec<&'a [IpNet]>);

impl Serialize for Networks<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.iter().copied().flatten())
    }
}

/// What the fleet offers now. Egress is that of the appliances in service; the soft limit is where the policy calls them
/// tight, the hard one where it calls them full. A site that has none offers nothing.
fn advertise<'a>(
    index: &Index,
    footprints: &'a BTreeMap<SiteIx, Vec<IpNet>>,
    dns: bool,
) -> Advertisement<'a> {
    let sites = footprints.iter().filter(|(site, _)| egress(index, **site) > 0);
    let all = of_networks(sites.clone().map(|(_, networks)| networks.as_slice()));
    let schemes = index.appliances().map(|(_, a)| a.base_url.starts_with("https"));
    let (secure, plain): (Vec<_>, Vec<_>) = schemes.partition(|secure| *secure);
    let protocols = [("http/1.1", plain.is_empty()), ("https/1.1", secure.is_empty())];
    let modes = ["HTTP-I", "DNS-I"];
    let general = [
        (
            "FCI.DeliveryProtocol",
            Value::Protocols {
                delivery_protocols: protocols.iter().filter(|p| !p.1).map(|p| p.0).collect(),
            },
        ),
        (
            "FCI.RedirectionMode",
            Value::Modes {
                redirection_modes: modes[..if dns { 2 } else { 1 }].to_vec(),
            },
        ),
    ];
    let general = general
        .into_iter()
        .map(|(capability_type, capability_value)| Capability {
            capability_type,
            capability_value,
            footprints: all.clone(),
        });
    let steps = &index.policy().headroom;
    let limits = sites.map(|(site, networks)| {
        let of = |permille: u32| (u128::from(egress(index, *site)) * u128::from(permille) / 1000) as u64;
        Capability {
            capability_type: "FCI.CapacityLimits",
            capability_value: Value::Limits {
                limits: vec![Limit {
                    id: index.site(*site).id.to_string(),
                    limit_type: "egress",
                    maximum_hard: of(steps.full_from),
                    maximum_soft: of(steps.tight_from),
                }],
            },
            footprints: of_networks([networks.as_slice()].into_iter()),
        }
    });
    Advertisement {
        capabilities: general.chain(limits).collect(),
    }
}

/// Egress of a site's appliances that are in service, however busy, in bit/s.
fn egress(index: &Index, site: SiteIx) -> u64 {
    let appliances = index.site(site).appliances.iter().map(|ix| index.appliance(*ix));
    let in_service = appliances.filter(|a| a.state == ApplianceState::Serving && a.unusable.is_none());
    in_service.map(|a| a.weight * 1_000_000).sum()
}

/// By family; the networks of a site have those of IPv4 first.
fn of_networks<'a>(sites: impl Iterator<Item = &'a [IpNet]>) -> Vec<Footprint<'a>> {
    let split = |site: &'a [IpNet]| site.split_at(site.partition_point(|n| n.addr().is_ipv4()));
    let (v4, v6) = sites.map(split).unzip();
    [("ipv4cidr", v4), ("ipv6cidr", v6)]
        .map(|(family, networks): (_, Vec<_>)| {
            (
                family,
                networks.into_iter().filter(|n| !n.is_empty()).collect::<Vec<_>>(),
            )
        })
        .into_iter()
        .filter(|(_, networks)| !networks.is_empty())
        .map(|(footprint_type, networks)| Footprint {
            footprint_type,
            footprint_value: Networks(networks),
        })
        .collect()
}
