//! The DNS door, asked by dig and kdig as resolvers ask it, and by bytes that no resolver sends.

use super::{
    fixture::fleet,
    program::{PATIENCE, Program},
};
use cdn_types::{TitleId, api::v1::FleetSnapshot, time::Timestamp};
use proptest::prelude::*;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};
use steering_core::{Options, policy::raw::RawPolicy};
use steering_service::{
    dns::{
        DnsConfig, NameServer,
        query::{Query, Unread},
        reply::{Data, Reply},
        wire::{Name, rcode},
        zone,
    },
    fleet::{Fleet, FleetState},
    metrics::Metrics,
};
use tokio::process::Command;

pub const ZONE: [&str; 6] = [
    "--dns-listen",
    "127.0.0.1:0",
    "--dns-zone",
    "cdn.example",
    "--dns-ns",
    "ns1.cdn.example=192.0.2.53",
];

/// Appliances of `par` over TLS, by address (par-1).
fn tls_fleet() -> FleetSnapshot {
    let mut fleet = fleet();
    fleet.appliances[2].base_url = "https://127.0.0.4:8443".into();
    fleet
}

/// What a client prints, each run of blanks as one.
pub async fn ask(p: &Program, client: &str, args: &str) -> String {
    let dns = p.dns.unwrap();
    let output = Command::new(client)
        .args([format!("@{}", dns.ip()), "-p".into(), dns.port().to_string()])
        .args(["+retry=0", "+time=20"])
        .args(args.split(' '))
        .output()
        .await
        .expect("dig and kdig are installed (tools/install test)");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ") + "\n")
        .collect()
}

/// All `wanted` stand in what is printed; those after `!` do not.
async fn table(p: &Program, client: &str, rows: &[(&str, &[&str])]) {
    let mut faults = String::new();
    for (args, wanted) in rows {
        let printed = ask(p, client, args).await;
        for text in *wanted {
            let (text, there) = text.strip_prefix('!').map_or((*text, true), |t| (t, false));
            if printed.contains(text) != there {
                faults += &format!("{client} {args}: wanted is {there}: {text}\n{printed}\n");
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[tokio::test]
async fn dig_gets_the_appliance_of_the_subnet_and_the_scope_that_decided() {
    let p = Program::offline(&tls_fleet(), &ZONE).await;
    let own = p.json("/v1/rank?client=127.0.0.1&asset=film").await;
    let own = own["ranked"][0]["base_url"].as_str().unwrap();
    let own = own
        .strip_prefix("http://")
        .unwrap()
        .strip_suffix(":8080")
        .unwrap();
    let own = format!("film.cdn.example. 20 IN A {own}\n");
    let par = "film.cdn.example. 20 IN A 127.0.0.4\n";
    let soa = "cdn.example. 20 IN SOA ns1.cdn.example. hostmaster.cdn.example. 1 3600 600 86400 20\n";
    table(
        &p,
        "dig",
        &[
            (
                "film.cdn.example A",
                &[
                    &own,
                    "status: NOERROR",
                    "flags: qr aa rd;",
                    "!CLIENT-SUBNET",
                    "EDNS: version: 0, flags:; udp: 1232",
                ],
            ),
            ("+tcp film.cdn.example A", &[&own, "(TCP)"]),
            ("+noedns film.cdn.example A", &[&own, "!EDNS"]),
            (
                "+subnet=203.0.113.0/24 film.cdn.example A",
                &[par, "CLIENT-SUBNET: 203.0.113.0/24/24\n"],
            ),
            (
                "+subnet=203.0.113.9/32 film.cdn.example A",
                &[par, "CLIENT-SUBNET: 203.0.113.9/32/24\n"],
            ),
            (
                "+subnet=127.9.0.0/16 film.cdn.example A",
                &[&own, "CLIENT-SUBNET: 127.9.0.0/16/8\n"],
            ),
            // No route, but 127.0.0.0/8 and 203.0.113.0/24 must not be kept from theirs.
            (
                "+subnet=198.51.100.0/24 film.cdn.example A",
                &["status: NOERROR", "CLIENT-SUBNET: 198.51.100.0/24/5\n"],
            ),
            (
                "+subnet=203.0.0.0/16 film.cdn.example A",
                &["CLIENT-SUBNET: 203.0.0.0/16/18\n"],
            ),
            (
                "+subnet=2001:db8:7::/48 film.cdn.example A",
                &[par, "CLIENT-SUBNET: 2001:db8:7::/48/32\n"],
            ),
            (
                "+subnet=::ffff:203.0.113.0/120 film.cdn.example A",
                &[par, "/120/120\n"],
            ),
            (
                "+subnet=0 film.cdn.example A",
                &[&own, "CLIENT-SUBNET: 0.0.0.0/0/0\n"],
            ),
            (
                "+subnet=0.0.0.0/0 film.cdn.example A",
                &[&own, "CLIENT-SUBNET: 0.0.0.0/0/0\n"],
            ),
            (
                "+subnet=203.0.113.0/24 film.cdn.example AAAA",
                &["status: NOERROR", "ANSWER: 0,", soa, "/24/24\n"],
            ),
            (
                "+subnet=203.0.113.0/24 film.cdn.example HTTPS",
                &["film.cdn.example. 20 IN HTTPS 1 . alpn=\"h2\" port=8443 ipv4hint=127.0.0.4\n"],
            ),
            ("film.cdn.example HTTPS", &["ANSWER: 0,", soa]),
            (
                "+subnet=203.0.113.0/24 FiLm.CdN.eXaMpLe A",
                &["FiLm.CdN.eXaMpLe. 20 IN A 127.0.0.4\n"],
            ),
            ("film.cdn.example TXT", &["status: NOERROR", "ANSWER: 0,", soa]),
            ("film.cdn.example ANY +notcp", &[&own, "ANSWER: 1,"]),
            ("+dnssec film.cdn.example A", &[&own, "flags: do;", "!RRSIG"]),
            (
                "+subnet=203.0.113.0/24 none.cdn.example A",
                &["status: NXDOMAIN", soa, "203.0.113.0/24/0\n"],
            ),
            ("a.film.cdn.example A", &["status: NXDOMAIN", soa]),
            ("filmcdn.example A", &["status: REFUSED", "!SOA", "flags: qr rd;"]),
            ("example A", &["status: REFUSED"]),
            ("cdn.example AXFR", &["Transfer failed"]),
            ("film.cdn.example CH A", &["status: REFUSED"]),
            ("cdn.example SOA", &[soa, "ANSWER: 1,"]),
            ("cdn.example NS", &["cdn.example. 20 IN NS ns1.cdn.example.\n"]),
            ("ns1.cdn.example A", &["ns1.cdn.example. 20 IN A 192.0.2.53\n"]),
            ("ns1.cdn.example AAAA", &["ANSWER: 0,", soa]),
            (
                "+edns=1 +noednsnegotiation film.cdn.example A",
                &["status: BADVERS", "EDNS: version: 0,", "ANSWER: 0,"],
            ),
            ("+opcode=NOTIFY film.cdn.example A", &["status: NOTIMP"]),
        ],
    )
    .await;
    let text = p.get("/metrics").await.text().await.unwrap();
    let sample = |labels: &str| super::program::sample(&text, &format!("steering_dns_answers_total{labels}"));
    assert_eq!(
        sample(r#"{rcode="NXDOMAIN",transport="udp"}"#),
        Some(2.0),
        "{text}"
    );
    assert_eq!(sample(r#"{rcode="BADVERS",transport="udp"}"#), Some(1.0));
}

#[tokio::test]
async fn kdig_agrees() {
    let p = Program::offline(&tls_fleet(), &ZONE).await;
    let par = "film.cdn.example. 20 IN A 127.0.0.4\n";
    table(
        &p,
        "kdig",
        &[
            (
                "+subnet=203.0.113.0/24 film.cdn.example A",
                &[par, "203.0.113.0/24/24", "status: NOERROR"],
            ),
            (
                "+subnet=2001:db8:7::/48 film.cdn.example A",
                &[par, "2001:db8:7::/48/32"],
            ),
            ("+tcp +subnet=203.0.113.0/24 film.cdn.example A", &[par]),
            (
                "+subnet=203.0.113.0/24 film.cdn.example HTTPS",
                &["IN HTTPS 1 . alpn=h2 port=8443 ipv4hint=127.0.0.4\n"],
            ),
            ("none.cdn.example A", &["status: NXDOMAIN", "SOA"]),
            ("film.example A", &["status: REFUSED"]),
            ("+edns=1 film.cdn.example A", &["BADVERS"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn appliances_with_host_names_are_aliases_and_sixes_are_aaaa() {
    let mut fleet = fleet();
    fleet.appliances[0].base_url = "http://[2001:db8::2]:8080".into();
    fleet.appliances[1].base_url = "https://[2001:db8::2]".into();
    fleet.appliances[2].base_url = "https://par-1.oca.example:8443".into();
    let p = Program::offline(&fleet, &ZONE).await;
    let alias = "film.cdn.example. 20 IN CNAME par-1.oca.example.\n";
    let par = "+subnet=203.0.113.0/24 film.cdn.example";
    table(
        &p,
        "dig",
        &[
            (&format!("{par} A"), &[alias, "ANSWER: 1,"]),
            (&format!("{par} AAAA"), &[alias]),
            (&format!("{par} TXT"), &[alias]),
            (
                "film.cdn.example AAAA",
                &["film.cdn.example. 20 IN AAAA 2001:db8::2\n"],
            ),
            ("film.cdn.example A", &["ANSWER: 0,", "SOA"]),
            // Nobody holds it: the origin.
            ("rare.cdn.example A", &["rare.cdn.example. 20 IN A 127.0.0.1\n"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_does_not_fit_comes_over_tcp() {
    let long = |n: u8| format!("ns{n}.{}.{}.test", "a".repeat(60), "b".repeat(60));
    let names: Vec<_> = (0..9).map(long).collect();
    let mut args = ZONE.to_vec();
    args.extend(names.iter().flat_map(|n| ["--dns-ns", n.as_str()]));
    let p = Program::offline(&fleet(), &args).await;
    table(
        &p,
        "dig",
        &[
            (
                "+ignore +bufsize=512 cdn.example NS",
                &["flags: qr aa tc rd;", "ANSWER: 0,", "EDNS: version: 0"],
            ),
            (
                "+ignore +bufsize=65535 cdn.example NS",
                &["flags: qr aa tc rd;", "ANSWER: 0,"],
            ),
            ("cdn.example NS", &["flags: qr aa rd;", "ANSWER: 10,", "(TCP)"]),
        ],
    )
    .await;
}

/// A flood from one network: within the rate it is answered, of the rest every second query is sent to TCP, and there a
/// resolver gets its answer while the flood goes on.
#[tokio::test]
async fn a_flood_is_limited_and_resolvers_come_back_over_tcp() {
    const RATE: usize = 5;
    let p = Program::offline(&fleet(), &[&ZONE[..], &["--dns-rate", "5"]].concat()).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(p.dns.unwrap()).await.unwrap();
    let message = query(&[0, 1, 24, 0, 203, 0, 113]);
    let began = Instant::now();
    for _ in 0..100 {
        socket.send(&message).await.unwrap();
    }
    // The metrics tell when all were read.
    let metrics = async || p.get("/metrics").await.text().await.unwrap();
    let count = |text: &str, name: &str| super::program::sample(text, name).unwrap_or(0.0) as usize;
    let names = [
        r#"steering_dns_answers_total{rcode="NOERROR",transport="udp"}"#,
        r#"steering_dns_limited_total{outcome="cut"}"#,
        r#"steering_dns_limited_total{outcome="dropped"}"#,
    ];
    let [answered, cut, dropped] = loop {
        let text = metrics().await;
        let counts = names.map(|name| count(&text, name));
        if counts.iter().sum::<usize>() == 100 {
            break counts;
        }
        assert!(began.elapsed() < PATIENCE, "{counts:?}");
    };
    let most = RATE + 1 + (began.elapsed().as_secs_f64() * RATE as f64) as usize;
    assert!((RATE..=most).contains(&answered), "{answered} of at most {most}");
    assert!(cut.abs_diff(dropped) <= 1, "{cut} {dropped}");
    let mut got = (0, 0);
    let mut buffer = [0; 1500];
    for _ in 0..answered + cut {
        let received = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer));
        let len = received.await.expect("all answers come").unwrap();
        let truncated = buffer[2] & 0x02 != 0;
        assert_eq!(buffer[7], u8::from(!truncated), "an answer, or none");
        assert!(!truncated || len <= message.len(), "no more than was asked");
        got = (got.0 + usize::from(!truncated), got.1 + usize::from(truncated));
    }
    assert_eq!(got, (answered, cut));

    let flood = tokio::spawn(async move {
        loop {
            socket.send(&message).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    for client in ["dig", "kdig"] {
        let text = ask(
            &p,
            client,
            "+retry=20 +time=1 +subnet=203.0.113.0/24 film.cdn.example A",
        )
        .await;
        assert!(text.contains("film.cdn.example. 20 IN A 127.0.0.4\n"), "{text}");
        let text = ask(&p, client, "+tcp +subnet=203.0.113.0/24 film.cdn.example A").await;
        assert!(text.contains("film.cdn.example. 20 IN A 127.0.0.4\n"), "{text}");
    }
    flood.abort();
    let text = metrics().await;
    assert!(
        count(
            &text,
            r#"steering_dns_answers_total{rcode="NOERROR",transport="tcp"}"#
        ) >= 2
    );
}

fn config() -> DnsConfig {
    let zone = Name::new("cdn.example").unwrap();
    DnsConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        contact: zone.child("hostmaster").unwrap(),
        zone,
        servers: vec![NameServer {
            name: Name::new("ns.test").unwrap(),
            address: None,
        }],
        ttl: 20,
        rate: 0,
    }
}

/// With networks within networks, and a policy on top.
fn made(policy: &str) -> Arc<Fleet> {
    let state = FleetState::new(Arc::new(Metrics::new().unwrap()));
    let raw: RawPolicy = toml::from_str(&format!("version = 1\n{policy}")).unwrap();
    state.set_policy(raw.try_into().unwrap());
    let mut fleet = fleet();
    for (site, prefix) in [
        (0, "203.0.0.0/9"),
        (1, "203.0.113.64/29"),
        (0, "203.0.113.66/32"),
        (0, "2001:db8:8::/45"),
    ] {
        fleet.sites[site].prefixes.push(prefix.parse().unwrap());
    }
    let text = serde_json::to_vec(&fleet).unwrap();
    state.install(&text, |_| Timestamp::UNIX_EPOCH).unwrap()
}

static FLEET: LazyLock<Arc<Fleet>> =
    LazyLock::new(|| made("[[rule]]\nprefix = \"203.0.113.128/26\"\nblock = true\nappliance = \"par-1\"\n"));

fn reply(fleet: &Fleet, client: IpAddr) -> Reply {
    let subnet = match client {
        IpAddr::V4(a) => [&[0, 1, 32, 0], &a.octets()[..]].concat(),
        IpAddr::V6(a) => [&[0, 2, 128, 0], &a.octets()[..]].concat(),
    };
    let query = Query::read(&query(&subnet)).unwrap();
    zone::answer(&config(), Some(fleet), &query, IpAddr::V4(Ipv4Addr::LOCALHOST)).reply
}

#[test]
fn a_licence_that_needs_a_country_gives_no_address() {
    let fleet = made("[[licence]]\ntitle = \"film\"\nonly = [\"DE\"]\n");
    let reply = reply(&fleet, "203.0.113.9".parse().unwrap());
    assert_eq!(
        (reply.code, reply.answers.len(), reply.authority.len()),
        (rcode::NOERROR, 0, 1)
    );
}

/// A query for `film.cdn.example A` with one EDNS option of code 8.
fn query(subnet: &[u8]) -> Vec<u8> {
    let mut message = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x04film\x03cdn\x07example\0\0\x01\0\x01".to_vec();
    message.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0");
    message.push(subnet.len() as u8 + 4);
    message.extend([0, 8, 0, subnet.len() as u8]);
    message.extend(subnet);
    message
}

#[test]
fn without_a_fleet_the_zone_fails_and_others_are_still_refused() {
    let mut message = query(&[0, 1, 0, 0]);
    let code = |message: &[u8]| {
        let query = Query::read(message).unwrap();
        zone::answer(&config(), None, &query, IpAddr::V4(Ipv4Addr::LOCALHOST))
            .reply
            .code
    };
    assert_eq!(code(&message), rcode::SERVFAIL);
    message[18] = b'C'; // film.Cdn.example, the same
    assert_eq!(code(&message), rcode::SERVFAIL);
    message[18] = b'd';
    assert_eq!(code(&message), rcode::REFUSED);
}

#[test]
fn a_subnet_that_contradicts_itself_is_a_format_error() {
    for (subnet, fine) in [
        (&[0, 1, 24, 0, 203, 0, 113][..], true),
        (&[0, 1, 23, 0, 203, 0, 112], true),
        (&[0, 1, 0, 0], true),
        (&[0, 2, 0, 0], true),
        (&[0, 1, 23, 0, 203, 0, 113], false),    // a bit beyond the source
        (&[0, 1, 24, 0, 203, 0, 113, 0], false), // too long
        (&[0, 1, 24, 0, 203, 0], false),         // too short
        (&[0, 1, 24, 8, 203, 0, 113], false),    // a scope
        (&[0, 1, 33, 0, 203, 0, 113, 1, 0], false),
        (&[0, 3, 8, 0, 1], false), // no such family
        (&[0, 0, 0, 0], false),
        (&[0, 1], false),
    ] {
        let read = Query::read(&query(subnet));
        if fine {
            assert!(read.unwrap().subnet().is_some(), "{subnet:?}");
        } else {
            assert_eq!(read, Err(Unread::Code(rcode::FORMERR)), "{subnet:?}");
        }
    }
    let mut twice = query(&[0, 1, 0, 0]);
    twice.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
    twice[11] = 2;
    assert_eq!(Query::read(&twice), Err(Unread::Code(rcode::FORMERR)));
    let mut answer = query(&[0, 1, 0, 0]);
    answer[2] |= 0x80;
    assert_eq!(Query::read(&answer), Err(Unread::Silence));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// What is kept for a scope is right for everybody in it: wherever in it somebody asks from, routes and rules agree.
    #[test]
    fn all_of_a_scope_gets_the_same_answer(
        six in any::<bool>(),
        near in any::<u32>(),
        keep in 0u32..33,
        other in any::<u128>(),
    ) {
        // Near to where networks begin and end: the last bits at random, so many as `keep` says.
        let low = near.checked_shr(keep).unwrap_or(0);
        let (client, width) = if six {
            let base: Ipv6Addr = "2001:db8:8::".parse().unwrap();
            (IpAddr::V6(Ipv6Addr::from(u128::from(base) ^ u128::from(low) << 70)), 128)
        } else {
            (IpAddr::V4(Ipv4Addr::from(0xCB00_7142 ^ low)), 32)
        };
        let answer = reply(&FLEET, client);
        prop_assert!(answer.scope <= width);
        let free = |width: u8| u128::MAX.checked_shr(u32::from(128 - width + answer.scope)).unwrap_or(0);
        let neighbour = match client {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from(u32::from(a) ^ (other & free(32)) as u32)),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from(u128::from(a) ^ (other & free(128)))),
        };
        let of_neighbour = reply(&FLEET, neighbour);
        prop_assert_eq!(&of_neighbour, &answer, "{} {}", client, neighbour);
        // And it is the one that HTTP gives to that very neighbour.
        let film = TitleId::new("film").unwrap();
        let ranking = steering_core::rank(&FLEET.index, neighbour, &film, &Options::default()).unwrap();
        let best = &FLEET.index.appliance(ranking.entries[0].appliance).base_url;
        let Data::Address(ip) = answer.answers[0].data else { panic!("an address") };
        prop_assert_eq!(best, &format!("http://{ip}:8080"), "{} {}", client, neighbour);
    }

    /// Garbage, and queries with some bytes changed or cut off.
    #[test]
    fn no_bytes_make_the_dns_door_panic(
        garbage in proptest::collection::vec(any::<u8>(), 0..200),
        changes in proptest::collection::vec((0usize..64, any::<u8>()), 0..6),
        cut in 0usize..64,
    ) {
        let mut near = query(&[0, 1, 24, 0, 203, 0, 113]);
        for (at, byte) in changes {
            if let Some(b) = near.get_mut(at) {
                *b = byte;
            }
        }
        let short = near[..near.len() - cut.min(near.len())].to_vec();
        for message in [garbage, near, short] {
            let Ok(query) = Query::read(&message) else { continue };
            let reply = zone::answer(&config(), Some(&FLEET), &query, IpAddr::V4(Ipv4Addr::LOCALHOST)).reply;
            let bytes = reply.write(&message, &query, query.udp_room());
            prop_assert!(bytes.len() <= query.udp_room());
            prop_assert_eq!(&bytes[..2], &message[..2]);
            prop_assert_eq!(bytes[2] & 0x80, 0x80);
        }
    }
}
