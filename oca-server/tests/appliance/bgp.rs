//! The BGP listener against what speaks to it: BIRD and other daemons, and a speaker of the test's own for what no daemon
//! would say.

mod bird;
mod daemons;
mod dump;
mod speaker;

use crate::{
    control::FakeControl,
    world::{Appliance, get, post, until},
};
use bird::Bird;
use daemons::Daemon;
use oca_core::bgp::update::announcement;
use serde_json::Value;
use speaker::Speaker;
use std::{fs, net::SocketAddr, time::Instant};

const LOCAL_AS: u32 = 64999;

/// `[bgp]` with one neighbour, and lines more of it.
fn config(listen: &str, neighbor: &str, more: &str) -> String {
    format!(
        "[bgp]\nlisten = \"{listen}:0\"\nlocal_as = {LOCAL_AS}\nrouter_id = \"192.0.2.7\"\n\
         [[bgp.neighbors]]\naddress = \"{neighbor}\"\nas = 64500\nclass = \"private\"\n{more}"
    )
}

fn status(appliance: &Appliance) -> Value {
    serde_json::from_str(&get(&appliance.admin("/bgp"), None).text()).unwrap()
}

fn neighbor(appliance: &Appliance) -> Value {
    status(appliance)["neighbors"][0].clone()
}

fn until_up(appliance: &Appliance) {
    until("the session is up", || {
        neighbor(appliance)["state"] == "established"
    });
}

/// Waits until the control plane knows exactly these prefixes.
fn until_heard(control: &FakeControl, prefixes: &[&str]) {
    until(&format!("{prefixes:?} are heard"), || {
        control
            .routes()
            .keys()
            .map(String::as_str)
            .eq(prefixes.iter().copied())
    });
}

#[test]
fn bird_announces_withdraws_refreshes_and_goes() {
    let control = FakeControl::start();
    let appliance = Appliance::start(&control, &config("127.78.1.1", "127.78.1.2", ""));
    let mut bird = Bird::new("127.78.1.2", appliance.bgp());
    bird.start("");
    until_up(&appliance);
    let four = ["11.1.0.0/16", "11.2.3.0/24"];
    until_heard(&control, &["11.1.0.0/16", "11.2.3.0/24", "2400:1::/32"]);
    let heard = control.routes();
    let route = &heard[four[1]];
    assert_eq!((route.as_path_len, route.med), (3, Some(50)));
    assert_eq!((route.neighbor_as, route.origin_as), (64500, Some(4_200_000_005)));
    assert_eq!(route.communities, [64500 << 16 | 7]);
    assert_eq!(route.large_communities, [[64500, 1, 2]]);
    assert_eq!(heard["2400:1::/32"].as_path_len, 1);
    let shown = neighbor(&appliance);
    let refused = &shown["refused"];
    assert_eq!(refused["bogon"]["examples"][0], "10.1.0.0/16", "{shown:#}");
    assert_eq!(refused["over_specific"]["routes"], 1);
    assert_eq!(refused["as_path_loop"]["examples"][0], "11.9.0.0/16");
    assert_eq!(shown["routes"], serde_json::json!({"ipv4": 2, "ipv6": 1}));

    let updates = || {
        let text = get(&appliance.admin("/metrics"), None).text();
        let line = text
            .lines()
            .find(|l| l.starts_with("oca_bgp_updates_total{"))
            .map(str::to_owned);
        line.and_then(|l| l.rsplit_once(' ')?.1.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let before = updates();
    let asked = post(&appliance.admin("/v1/bgp/refresh?neighbor=127.78.1.2")).text();
    assert_eq!(asked.trim(), r#"{"asked":1}"#);
    until("the routes are told anew", || updates() >= before + 4);

    let started = Instant::now();
    bird.command("disable s4");
    until_heard(&control, &["2400:1::/32"]);
    println!("withdrawn at the control plane after {:?}", started.elapsed());
    bird.command("enable s4");
    until_heard(&control, &["11.1.0.0/16", "11.2.3.0/24", "2400:1::/32"]);
    bird.kill();
    until_heard(&control, &[]);
    assert_eq!(neighbor(&appliance)["last_end"], "the connection has ended");
}

#[test]
fn a_graceful_neighbours_routes_stay_while_it_restarts() {
    let control = FakeControl::start();
    let appliance = Appliance::start(&control, &config("127.78.2.1", "127.78.2.2", ""));
    let mut bird = Bird::new("127.78.2.2", appliance.bgp());
    let graceful = "graceful restart on; graceful restart time 120;";
    bird.start(graceful);
    let all = ["11.1.0.0/16", "11.2.3.0/24", "2400:1::/32"];
    until_heard(&control, &all);
    let batches = control.batches().len();
    bird.kill();
    until("its routes are stale", || {
        neighbor(&appliance)["stale"] == serde_json::json!(["ipv4", "ipv6"])
    });
    bird.restart_without("11.1.0.0/16", graceful);
    until_heard(&control, &all[1..]);
    let told = control.batches();
    let withdrawn: Vec<_> = told[batches..].iter().flat_map(|b| &b.withdrawn).collect();
    assert_eq!(
        withdrawn,
        [&"11.1.0.0/16".parse().unwrap()],
        "the others have not gone for a moment"
    );
    bird.kill();

    bird.start("graceful restart on; graceful restart time 1;");
    until_heard(&control, &all);
    bird.kill();
    until_heard(&control, &[]);
}

#[test]
fn several_paths_of_bird_are_all_heard() {
    let control = FakeControl::start();
    let appliance = Appliance::start(&control, &config("127.78.9.1", "127.78.9.2", ""));
    let mut bird = Bird::new("127.78.9.2", appliance.bgp());
    bird.start_with_two_paths();
    until("both paths are there", || {
        neighbor(&appliance)["routes"]["ipv4"] == 3
    });
    assert_eq!(neighbor(&appliance)["add_path"], serde_json::json!(["ipv4"]));
    until_heard(&control, &["11.1.0.0/16", "11.2.3.0/24", "2400:1::/32"]);
    assert_eq!(control.routes()["11.1.0.0/16"].as_path_len, 1);
    bird.command("disable s4");
    until("the other path is best", || {
        control
            .routes()
            .get("11.1.0.0/16")
            .is_some_and(|r| r.as_path_len == 2)
    });
}

#[test]
fn a_router_tells_its_table_by_bmp() {
    let control = FakeControl::start();
    let more = "bmp = \"loc_rib\"\n";
    let text = config("127.78.13.1", "127.0.0.1", more);
    let text = text.replace("router_id", "bmp_listen = \"127.78.13.1:0\"\nrouter_id");
    let appliance = Appliance::start(&control, &text);
    let mut router = Daemon::gobgp_station("127.78.13.2", appliance.bmp());
    until_heard(&control, &["11.1.0.0/16", "2400:1::/40"]);
    let route = &control.routes()["11.1.0.0/16"];
    assert_eq!((route.as_path_len, route.neighbor_as), (1, 64501));
    assert_eq!(route.communities, [64500 << 16 | 7]);
    let shown = neighbor(&appliance);
    assert_eq!(
        (&shown["protocol"], &shown["state"]),
        (&"bmp".into(), &"established".into())
    );
    router.withdraw();
    until_heard(&control, &["2400:1::/40"]);
    drop(router);
    until_heard(&control, &[]);
}

#[test]
fn a_routers_peers_are_kept_apart_and_only_one_view_counts() {
    let control = FakeControl::start();
    let text = config("127.78.14.1", "127.78.14.2", "bmp = \"post_policy\"\n");
    let text = text.replace("router_id", "bmp_listen = \"127.78.14.1:0\"\nrouter_id");
    let appliance = Appliance::start(&control, &text);
    let mut router = Speaker::connect("127.78.14.2", appliance.bmp());
    let tell = |router: &mut Speaker, peer, post_policy, path: &[u32]| {
        let body = announcement(&["11.1.0.0/16".parse().unwrap()], path, &[]);
        router.write(&speaker::route_monitoring(peer, post_policy, &body));
    };
    tell(&mut router, 1, false, &[64501]);
    tell(&mut router, 1, true, &[64501, 1]);
    tell(&mut router, 2, true, &[64502, 1, 2]);
    let length = |want| {
        until("the best path is told", || {
            control
                .routes()
                .get("11.1.0.0/16")
                .is_some_and(|r| r.as_path_len == want)
        });
    };
    until("both peers' routes are there", || {
        neighbor(&appliance)["routes"]["ipv4"] == 2
    });
    length(2);
    router.write(&speaker::peer_down(1));
    length(3);
    router.write(b"no BMP at all");
    until_heard(&control, &[]);
    assert_eq!(neighbor(&appliance)["last_end"], "it is not BMP of version 3");
}

fn announces_withdraws_and_goes(
    name: &str,
    start: fn(&'static str, SocketAddr) -> Daemon,
    net: &str,
    address: &'static str,
) {
    let control = FakeControl::start();
    let appliance = Appliance::start(&control, &config(&format!("{net}.1"), address, ""));
    let mut daemon = start(address, appliance.bgp());
    until_heard(&control, &["11.1.0.0/16", "2400:1::/40"]);
    for route in control.routes().values() {
        assert_eq!((route.as_path_len, route.neighbor_as), (1, 64500));
        assert_eq!(route.communities, [64500 << 16 | 7]);
    }
    let started = Instant::now();
    daemon.withdraw();
    until_heard(&control, &["2400:1::/40"]);
    println!(
        "{name}: withdrawn at the control plane after {:?}",
        started.elapsed()
    );
    println!("{name}: {:#}", neighbor(&appliance));
    drop(daemon);
    until_heard(&control, &[]);
}

#[test]
fn gobgp_announces_withdraws_and_goes() {
    announces_withdraws_and_goes("GoBGP", Daemon::gobgp, "127.78.10", "127.78.10.2");
}

#[test]
fn exabgp_announces_withdraws_and_goes() {
    announces_withdraws_and_goes("ExaBGP", Daemon::exabgp, "127.78.11", "127.78.11.2");
}

#[test]
fn frr_announces_withdraws_and_goes() {
    announces_withdraws_and_goes("FRR", Daemon::frr, "127.78.12", "127.78.12.2");
}

#[test]
fn a_neighbour_above_its_prefix_limit_is_cut_off() {
    let control = FakeControl::start();
    let more = "prefix_limit = 5\n"; // BIRD sends 7, of which 3 count
    let appliance = Appliance::start(&control, &config("127.78.3.1", "127.78.3.2", more));
    let mut bird = Bird::new("127.78.3.2", appliance.bgp());
    bird.start("");
    until("it is cut off", || neighbor(&appliance)["state"] == "idle");
    let shown = neighbor(&appliance);
    assert_eq!(shown["last_end"], "maximum number of prefixes reached (6/1)");
    until_heard(&control, &[]);
    until("BIRD is told why", || {
        bird.log().contains("Maximum number of prefixes reached")
    });
}

#[test]
fn a_secret_is_demanded_of_whoever_has_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    fs::write(&file, "not told\n").unwrap();
    let more = format!("md5_file = \"{}\"\n", file.display());
    let control = FakeControl::start();
    let appliance = Appliance::start(&control, &config("127.78.4.1", "127.78.4.2", &more));
    let mut bird = Bird::new("127.78.4.2", appliance.bgp());
    bird.start("password \"not told\";");
    until_up(&appliance);
    bird.kill();
    until("it has left", || neighbor(&appliance)["state"] == "active");
    assert!(Speaker::try_connect("127.78.4.2", appliance.bgp()).is_err());
}

#[test]
fn an_upgrade_moves_the_neighbours_and_takes_no_route_away() {
    let control = FakeControl::start();
    let mut appliance = Appliance::start(&control, &config("127.78.15.1", "127.78.15.2", ""));
    let mut bird = Bird::new("127.78.15.2", appliance.bgp());
    bird.start("");
    let all = ["11.1.0.0/16", "11.2.3.0/24", "2400:1::/32"];
    until_heard(&control, &all);
    until("the table is told", || {
        control.batches().iter().any(|b| b.complete)
    });
    let (before, started) = (control.batches().len(), Instant::now());
    appliance.upgrade().unwrap();
    until("the new process has told its table", || {
        control.batches()[before..].iter().any(|b| b.complete)
    });
    println!(
        "the neighbour was back and told again {:?} after the upgrade began",
        started.elapsed()
    );
    assert_eq!(control.routes().len(), all.len());
    assert!(control.batches()[before..].iter().all(|b| b.withdrawn.is_empty()));
    bird.kill();
    until_heard(&control, &[]);
}

#[test]
fn whoever_is_not_expected_does_not_get_far() {
    let control = FakeControl::start();
    let appliance = Appliance::start(&control, &config("127.78.5.1", "127.78.5.2", ""));
    let mut stranger = Speaker::connect("127.78.5.3", appliance.bgp());
    assert_eq!(stranger.read(), None, "closed without a word");
    let mut wrong = Speaker::connect("127.78.5.2", appliance.bgp());
    wrong.open(64501);
    assert_eq!(wrong.until_notification(), (2, 2));
    let mut http = Speaker::connect("127.78.5.2", appliance.bgp());
    http.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(http.until_notification(), (1, 1));
    let metrics = get(&appliance.admin("/metrics"), None).text();
    assert!(
        metrics.contains(r#"oca_bgp_connections_refused_total{reason="unknown"} 1"#),
        "{metrics}"
    );
}

#[test]
fn malformed_updates_cost_their_routes_or_the_session_and_never_the_process() {
    let control = FakeControl::start();
    let appliance = Appliance::start(&control, &config("127.78.6.1", "127.78.6.2", ""));
    let mut speaker = Speaker::establish("127.78.6.2", appliance.bgp());
    let prefix = ["11.1.0.0/16".parse().unwrap()];
    speaker.update(&announcement(&prefix, &[64500], &[]));
    until_heard(&control, &["11.1.0.0/16"]);
    let bad_communities = [0xc0, 8, 3, 1, 2, 3];
    speaker.update(&announcement(&prefix, &[64500], &bad_communities));
    until_heard(&control, &[]);
    assert_eq!(neighbor(&appliance)["state"], "established");
    speaker.update(&announcement(&prefix, &[64500], &[]));
    until_heard(&control, &["11.1.0.0/16"]);
    let mut second = Speaker::connect("127.78.6.2", appliance.bgp());
    assert_eq!(second.until_notification(), (6, 7), "one session a neighbour");
    speaker.update(&[0, 9, 0, 0]);
    assert_eq!(speaker.until_notification(), (3, 1));
    until_heard(&control, &[]);
    let again = Speaker::establish("127.78.6.2", appliance.bgp());
    until_up(&appliance);
    drop(again);
}

#[test]
fn a_neighbour_that_is_gone_before_it_hears_why_takes_its_routes_along() {
    let control = FakeControl::start();
    let appliance = Appliance::start(&control, &config("127.78.16.1", "127.78.16.2", ""));
    for _ in 0..5 {
        let mut speaker = Speaker::establish("127.78.16.2", appliance.bgp());
        let prefix = ["11.1.0.0/16".parse().unwrap()];
        speaker.update(&announcement(&prefix, &[64500], &[]));
        until_heard(&control, &["11.1.0.0/16"]);
        speaker.update(&[0, 9, 0, 0]);
        speaker.reset();
        until_heard(&control, &[]);
    }
}

#[test]
fn batches_that_are_lost_or_forgotten_are_told_again() {
    let control = FakeControl::start();
    let appliance = Appliance::start(&control, &config("127.78.7.1", "127.78.7.2", ""));
    let mut speaker = Speaker::establish("127.78.7.2", appliance.bgp());
    let update = |speaker: &mut Speaker, prefix: &str| {
        speaker.update(&announcement(&[prefix.parse().unwrap()], &[64500], &[]));
    };
    update(&mut speaker, "11.1.0.0/16");
    until_heard(&control, &["11.1.0.0/16"]);
    control.lose_answers(1);
    update(&mut speaker, "11.2.0.0/16");
    update(&mut speaker, "11.3.0.0/16");
    until_heard(&control, &["11.1.0.0/16", "11.2.0.0/16", "11.3.0.0/16"]);
    let repeated = || control.batches().windows(2).filter(|w| w[0] == w[1]).count();
    until("the batch without an answer is told again", || repeated() == 1);
    assert!(control.batches()[1..].iter().all(|b| !b.reset));
    control.forget_routes();
    update(&mut speaker, "11.4.0.0/16");
    until_heard(
        &control,
        &["11.1.0.0/16", "11.2.0.0/16", "11.3.0.0/16", "11.4.0.0/16"],
    );
    assert!(control.batches().last().unwrap().reset);
    control.forget_routes();
    let all = ["11.1.0.0/16", "11.2.0.0/16", "11.3.0.0/16", "11.4.0.0/16"];
    until_heard(&control, &all); // although nothing changes
}

/// Prints how long 100,000 prefixes take: `cargo nextest run -p oca-server --release --run-ignored=only hundred_thousand --no-capture`.
#[test]
#[ignore = "it measures; it asserts nothing about time"]
fn hundred_thousand_prefixes_from_a_generated_feed() {
    let control = FakeControl::start();
    let appliance = Appliance::start(&control, &config("127.78.8.1", "127.78.8.2", ""));
    let mut speaker = Speaker::establish("127.78.8.2", appliance.bgp());
    let feed = speaker::feed(100_000);
    let (messages, started) = (feed.len(), Instant::now());
    for body in &feed {
        speaker.update(body);
    }
    let sent = started.elapsed();
    until("all are in the table", || {
        status(&appliance)["prefixes"] == 100_000
    });
    let taken = started.elapsed();
    until("all are at the control plane", || {
        control.routes().len() == 100_000
    });
    let told = started.elapsed();
    println!(
        "100,000 prefixes in {messages} UPDATEs: sent {sent:?}, in the table {taken:?}, at the control plane {told:?}"
    );
    println!("attribute sets: {}", status(&appliance)["attribute_sets"]);
}
