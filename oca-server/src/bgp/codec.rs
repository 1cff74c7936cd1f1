//! Messages to and from octets, by bgpkit-parser, apart from UPDATE: that is read by `oca_core::bgp::update`. (bgpkit is
//! made for archives: it guesses whether path identifiers are there, so that an UPDATE that begins with 0.0.0.0/0 is read
//! wrongly, has one switch for all families, and passes over an attribute that is longer than the rest.) The test below is a
//! second opinion on the own reader.

use bgpkit_parser::{
    models::{
        Afi, AsnLength, AttributeValue, BgpMessage, BgpNotificationMessage, BgpOpenMessage,
        BgpRouteRefreshMessage, BgpUpdateMessage, Capability, CapabilityValue, Nlri, OptParam, ParamValue,
        Safi,
        capabilities::{
            AddPathAddressFamily, AddPathCapability, AddPathSendReceive, BgpCapabilityType,
            FourOctetAsCapability, GracefulRestartCapability, MultiprotocolExtensionsCapability,
            RouteRefreshCapability,
        },
        error::BgpError,
    },
    parser::bgp::messages::{parse_bgp_notification_message, parse_bgp_open_message},
};
use bytes::Bytes;
use oca_core::bgp::{
    Families, Family, UNICAST,
    message::{AS_TRANS, GracefulRestart, Notification, Open, Outgoing},
    session::HOLD_TIME,
};
use std::{net::Ipv4Addr, time::Duration};

/// Who this speaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// Its AS.
    pub asn: u32,
    /// Its BGP identifier.
    pub id: Ipv4Addr,
}

/// A message's octets.
pub fn encode(local: Local, message: &Outgoing) -> Bytes {
    let message = match message {
        Outgoing::Open => BgpMessage::Open(own_open(local)),
        Outgoing::Keepalive => BgpMessage::KeepAlive,
        Outgoing::Refresh(family) => BgpMessage::RouteRefresh(BgpRouteRefreshMessage {
            afi: family.afi(),
            subtype: 0,
            safi: UNICAST,
            data: Vec::new(),
        }),
        Outgoing::EndOfRib(Family::V4) => BgpMessage::Update(BgpUpdateMessage::default()),
        Outgoing::EndOfRib(Family::V6) => BgpMessage::Update(end_of_v6()),
        Outgoing::Notification(n) => BgpMessage::Notification(BgpNotificationMessage {
            error: BgpError::new(n.code, n.subcode),
            data: n.data.clone(),
        }),
    };
    message
        .encode(AsnLength::Bits32)
        .expect("capabilities of 40 octets and data of 2 fit their lengths")
}

/// An MP_UNREACH_NLRI without prefixes.
fn end_of_v6() -> BgpUpdateMessage {
    let none = Nlri {
        afi: Afi::Ipv6,
        safi: Safi::Unicast,
        next_hop: None,
        prefixes: Vec::new(),
        labeled_prefixes: None,
        link_state_nlris: None,
        flowspec_nlris: None,
    };
    BgpUpdateMessage {
        attributes: [AttributeValue::MpUnreachNlri(none)].into_iter().collect(),
        ..BgpUpdateMessage::default()
    }
}

/// The own OPEN: both families, route refresh, four octets, several paths received, and help at graceful restarts
/// (RFC 4724 §3: a time of 0 and no family, for there is nothing of ours to keep).
fn own_open(local: Local) -> BgpOpenMessage {
    use BgpCapabilityType as Type;
    let families = [Afi::Ipv4, Afi::Ipv6];
    let multiprotocol = families.map(|afi| {
        let value = MultiprotocolExtensionsCapability::new(afi, Safi::Unicast);
        (
            Type::MULTIPROTOCOL_EXTENSIONS_FOR_BGP_4,
            CapabilityValue::MultiprotocolExtensions(value),
        )
    });
    let paths = families.map(|afi| AddPathAddressFamily {
        afi,
        safi: Safi::Unicast,
        send_receive: AddPathSendReceive::Receive,
    });
    let others = [
        (
            Type::ROUTE_REFRESH_CAPABILITY_FOR_BGP_4,
            CapabilityValue::RouteRefresh(RouteRefreshCapability::new()),
        ),
        (
            Type::GRACEFUL_RESTART_CAPABILITY,
            CapabilityValue::GracefulRestart(GracefulRestartCapability::new(false, 0, Vec::new())),
        ),
        (
            Type::SUPPORT_FOR_4_OCTET_AS_NUMBER_CAPABILITY,
            CapabilityValue::FourOctetAs(FourOctetAsCapability::new(local.asn)),
        ),
        (
            Type::ADD_PATH_CAPABILITY,
            CapabilityValue::AddPath(AddPathCapability::new(paths.to_vec())),
        ),
    ];
    let capabilities = multiprotocol.into_iter().chain(others);
    BgpOpenMessage {
        version: 4,
        asn: u16::try_from(local.asn).map_or(AS_TRANS, u32::from).into(),
        hold_time: HOLD_TIME.as_secs() as u16,
        bgp_identifier: local.id,
        extended_length: false,
        opt_params: vec![OptParam {
            param_type: 2,
            param_value: ParamValue::Capacities(
                capabilities.map(|(ty, value)| Capability { ty, value }).collect(),
            ),
        }],
    }
}

/// Reads the body of an OPEN.
///
/// # Errors
/// The NOTIFICATION that the session ends with.
pub fn read_open(body: &[u8]) -> Result<Open, Notification> {
    let mut octets = Bytes::copy_from_slice(body);
    let read = parse_bgp_open_message(&mut octets).map_err(|_| Notification::new(2, 0))?;
    let mut open = Open {
        version: read.version,
        asn: read.asn.into(),
        hold_time: read.hold_time,
        id: read.bgp_identifier,
        families: Families::default(),
        refresh: false,
        as4: false,
        add_path: Families::default(),
        takes_paths: Families::default(),
        graceful: None,
    };
    let mut multiprotocol = false;
    for parameter in read.opt_params {
        let ParamValue::Capacities(list) = parameter.param_value else {
            return Err(Notification::new(2, 4)); // unsupported optional parameter
        };
        for capability in list {
            multiprotocol |= matches!(capability.value, CapabilityValue::MultiprotocolExtensions(_));
            take(&mut open, &capability.value);
        }
    }
    if !multiprotocol {
        open.families.add(Family::V4);
    }
    Ok(open)
}

fn take(open: &mut Open, capability: &CapabilityValue) {
    match capability {
        CapabilityValue::MultiprotocolExtensions(m) => {
            if let Some(family) = family(m.afi, m.safi) {
                open.families.add(family);
            }
        }
        CapabilityValue::RouteRefresh(_) => open.refresh = true,
        CapabilityValue::FourOctetAs(four) => {
            open.as4 = true;
            open.asn = four.asn;
        }
        CapabilityValue::AddPath(paths) => {
            for entry in &paths.address_families {
                let Some(family) = family(entry.afi, entry.safi) else {
                    continue;
                };
                if entry.send_receive != AddPathSendReceive::Receive {
                    open.add_path.add(family);
                }
                if entry.send_receive != AddPathSendReceive::Send {
                    open.takes_paths.add(family);
                }
            }
        }
        CapabilityValue::GracefulRestart(g) => {
            let (mut families, mut kept) = (Families::default(), Families::default());
            for entry in &g.address_families {
                if let Some(family) = family(entry.afi, entry.safi) {
                    families.add(family);
                    if entry.forwarding_state {
                        kept.add(family);
                    }
                }
            }
            open.graceful = Some(GracefulRestart {
                restarting: g.restart_state,
                time: Duration::from_secs(g.restart_time.into()),
                families,
                kept,
            });
        }
        _ => {}
    }
}

fn family(afi: Afi, safi: Safi) -> Option<Family> {
    Family::of(afi as u16, safi as u8)
}

/// Reads the body of a NOTIFICATION; one that cannot be read says nothing.
pub fn read_notification(body: &[u8]) -> Notification {
    match parse_bgp_notification_message(Bytes::copy_from_slice(body)) {
        Ok(read) => {
            let (code, subcode) = read.error.get_codes();
            Notification {
                code,
                subcode,
                data: read.data,
            }
        }
        Err(_) => Notification::new(0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgpkit_parser::parser::bgp::parse_bgp_message;
    use oca_core::bgp::{
        attributes::Reading,
        frame::{self, HEADER, Kind},
        update::{self, Rules, announcement},
    };

    const LOCAL: Local = Local {
        asn: 4_200_000_001,
        id: Ipv4Addr::new(192, 0, 2, 7),
    };

    #[test]
    fn the_own_open_says_what_a_listener_can() {
        let octets = encode(LOCAL, &Outgoing::Open);
        assert_eq!(frame::first(&octets), Ok(Some((Kind::Open, octets.len()))));
        let open = read_open(&octets[HEADER..]).unwrap();
        assert_eq!((open.asn, open.id, open.hold_time), (LOCAL.asn, LOCAL.id, 90));
        assert!(open.families == Families::ALL && open.as4 && open.refresh);
        assert!(
            open.add_path.is_empty(),
            "it receives several paths, and sends none"
        );
        assert_eq!(open.takes_paths, Families::ALL);
        assert!(open.graceful.is_some_and(|g| g.families.is_empty()));
        assert_eq!(&octets[20..22], &[0x5b, 0xa0], "AS_TRANS");
    }

    #[test]
    fn other_messages_keep_what_they_say() {
        for n in [Notification::new(6, 1), Notification::new(3, 10)] {
            let octets = encode(LOCAL, &Outgoing::Notification(n.clone()));
            assert_eq!(read_notification(&octets[HEADER..]), n);
        }
        let refresh = encode(LOCAL, &Outgoing::Refresh(Family::V6));
        assert_eq!(&refresh[HEADER..], [0, 2, 0, 1]);
        assert_eq!(encode(LOCAL, &Outgoing::Keepalive).len(), HEADER);
        let rules = Rules {
            reading: Reading {
                as4: true,
                internal: false,
            },
            add_path: Families::default(),
        };
        for family in Family::ALL {
            let octets = encode(LOCAL, &Outgoing::EndOfRib(family));
            let end = update::read(&octets[HEADER..], &rules).unwrap().end_of_rib;
            assert_eq!(end, Some(family), "{octets:?}");
        }
    }

    #[test]
    fn opens_that_cannot_be_read_are_refused() {
        let plain = read_open(&[4, 0, 1, 0, 90, 1, 1, 1, 1, 0]).unwrap();
        assert_eq!(plain.families, Families { v4: true, v6: false });
        for bad in [&[][..], &[4, 0, 1], &[4, 0, 1, 0, 90, 1, 1, 1, 1, 6, 2, 9, 1, 4]] {
            assert_eq!(read_open(bad).unwrap_err().code, 2, "{bad:?}");
        }
    }

    #[test]
    fn the_own_reader_and_bgpkit_agree_on_what_speakers_write() {
        let more = [0x80, 4, 4, 0, 0, 0, 9, 0xc0, 8, 4, 0xfc, 0, 0, 1];
        let prefixes: Vec<_> = ["11.0.0.0/8", "12.128.0.0/9", "8.8.8.0/24"]
            .map(|p| p.parse().unwrap())
            .to_vec();
        let body = announcement(&prefixes, &[64500, 4_200_000_002], &more);
        let rules = Rules {
            reading: Reading {
                as4: true,
                internal: false,
            },
            add_path: Families::default(),
        };
        let own = update::read(&body, &rules).unwrap();
        let mut octets = Bytes::from(frame::message(2, &body));
        let BgpMessage::Update(theirs) = parse_bgp_message(&mut octets, false, &AsnLength::Bits32).unwrap()
        else {
            panic!("it is an UPDATE")
        };
        let list: Vec<_> = theirs.announced_prefixes.iter().map(|p| p.prefix).collect();
        assert_eq!(own.announced.iter().map(|n| n.prefix).collect::<Vec<_>>(), list);
        let med = theirs.attributes.iter().find_map(|value| match value {
            AttributeValue::MultiExitDiscriminator(med) => Some(*med),
            _ => None,
        });
        assert_eq!(own.attributes.med, med);
        let path = theirs.attributes.as_path().unwrap();
        assert_eq!(
            own.attributes.as_path.origin(),
            path.get_origin_opt().map(u32::from)
        );
    }

    /// Why UPDATEs are read by the own reader: should this fail, bgpkit has become strict.
    #[test]
    fn bgpkit_takes_a_default_route_for_a_path_identifier() {
        let prefixes = ["0.0.0.0/0", "11.22.8.0/24", "11.0.0.0/8"].map(|p| p.parse().unwrap());
        let body = announcement(&prefixes, &[64500], &[]);
        let mut octets = Bytes::from(frame::message(2, &body));
        let BgpMessage::Update(theirs) = parse_bgp_message(&mut octets, false, &AsnLength::Bits32).unwrap()
        else {
            panic!("it is an UPDATE")
        };
        let list: Vec<_> = theirs.announced_prefixes.iter().map(|p| p.prefix).collect();
        assert_ne!(list, prefixes);
    }
}
