//! Routes as the control plane tells them, from the first table to the rank answer.

use super::{
    control::{Control, Told},
    fixture::fleet,
    program::{PATIENCE, Program, sample},
};
use cdn_types::api::v1::routes::{ApplianceRoutes, PeeringClass, RouteAttributes, RouteGroup};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const RANK: &str = "/v1/rank?asset=film&client=198.51.100.9&explain=1";

fn announce(appliance: &str, prefixes: &[&str]) -> ApplianceRoutes {
    ApplianceRoutes {
        appliance: appliance.parse().unwrap(),
        announced: vec![RouteGroup {
            attributes: RouteAttributes {
                class: PeeringClass::Private,
                as_path_len: 2,
                neighbor_as: 64500,
                origin_as: Some(64501),
                med: Some(7),
                communities: vec![],
                large_communities: vec![],
            },
            prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
        }],
        withdrawn: vec![],
    }
}

fn withdraw(appliance: &str, prefix: &str) -> ApplianceRoutes {
    ApplianceRoutes {
        appliance: appliance.parse().unwrap(),
        announced: vec![],
        withdrawn: vec![prefix.parse().unwrap()],
    }
}

/// A whole table, told as generation `at`.
fn whole(at: u64, routes: ApplianceRoutes) -> Told {
    Told {
        generation: at,
        whole: vec![routes],
        log_from: at,
        ..Told::default()
    }
}

async fn start(control: &Control) -> Program {
    let dir = tempfile::tempdir().unwrap();
    let p = Program::start(dir, &["--control", &control.url]).await;
    p.until("/readyz", |r| r["generation"] == 1).await;
    p
}

/// Waits until routes of this generation are in use, and ranks by them.
async fn ranked_by(p: &Program, generation: u64) -> Value {
    p.until("/readyz", |r| r["routes"]["generation"] == generation)
        .await;
    p.json(RANK).await
}

#[tokio::test]
async fn the_whole_table_comes_first_and_then_what_changes() {
    let control = Control::start(fleet()).await;
    control
        .routes
        .send_replace(whole(40, announce("par-1", &["198.51.100.0/24"])));
    let p = start(&control).await;
    let answer = ranked_by(&p, 40).await;
    assert_eq!(answer["ranked"][0]["appliance"], "par-1");
    assert_eq!(answer["routes"]["generation"], 40);
    let expected = json!({"prefix": "198.51.100.0/24", "class": "private", "origin": "bgp", "as_path_len": 2,
        "neighbour_as": 64500, "origin_as": 64501, "med": 7, "communities": []});
    assert_eq!(answer["explain"]["ranked"][0]["route"], expected);

    let lon = announce("lon-2", &["198.51.100.0/25"]);
    control.routes.send_modify(|told| told.change(lon));
    let answer = ranked_by(&p, 41).await;
    assert_eq!(answer["ranked"][0]["appliance"], "lon-2", "the longer network");

    let gone = withdraw("lon-2", "198.51.100.0/25");
    control.routes.send_modify(|told| told.change(gone));
    let answer = ranked_by(&p, 42).await;
    assert_eq!(answer["ranked"][0]["appliance"], "par-1");
    let text = p.get("/metrics").await.text().await.unwrap();
    assert_eq!(sample(&text, "steering_routes_generation"), Some(42.0));
    let changes = |kind| sample(&text, &format!("steering_route_changes_total{{kind=\"{kind}\"}}"));
    assert_eq!(
        (changes("announced"), changes("withdrawn")),
        (Some(2.0), Some(1.0))
    );
}

#[tokio::test]
async fn routes_of_an_unknown_appliance_wait_until_the_fleet_names_it() {
    let control = Control::start(fleet()).await;
    control
        .routes
        .send_replace(whole(7, announce("par-9", &["198.51.100.0/24"])));
    let p = start(&control).await;
    let answer = ranked_by(&p, 7).await;
    assert_eq!(answer["explain"]["prefix"], Value::Null);
    let mut next = fleet();
    next.generation = 2;
    let mut new = next.appliances[2].clone();
    new.id = "par-9".parse().unwrap();
    next.appliances.push(new);
    control.fleet.send_replace(next);
    p.until("/readyz", |r| r["generation"] == 2).await;
    assert_eq!(p.json(RANK).await["ranked"][0]["appliance"], "par-9");
}

#[tokio::test]
async fn a_burst_of_changes_is_taken_in_groups() {
    let control = Control::start(fleet()).await;
    let p = start(&control).await;
    control
        .routes
        .send_replace(whole(1, announce("par-1", &["198.51.100.0/24"])));
    ranked_by(&p, 1).await;
    let began = Instant::now();
    for i in 0..100 {
        let one = announce("par-1", &[&format!("198.51.100.{i}/32")]);
        control.routes.send_modify(|told| told.change(one));
        tokio::task::yield_now().await;
    }
    ranked_by(&p, 101).await;
    let gaps = began.elapsed().as_millis() as u64 / 100;
    let answers = control.routes.borrow().answers;
    assert!(
        answers <= gaps + 3,
        "{answers} tables of 101 changes in {gaps} times 100 ms"
    );
    let text = p.get("/metrics").await.text().await.unwrap();
    let networks = sample(&text, r#"steering_fleet_size{kind="networks"}"#);
    assert_eq!(networks, Some(104.0), "all of them, and three of sites");
}

#[tokio::test]
async fn the_last_table_stays_while_the_control_plane_is_away() {
    let control = Control::start(fleet()).await;
    control
        .routes
        .send_replace(whole(5, announce("par-1", &["198.51.100.0/24"])));
    let p = start(&control).await;
    ranked_by(&p, 5).await;
    let address = control.url.trim_start_matches("http://").to_owned();
    control.task.abort();
    let away = async {
        loop {
            let text = p.get("/metrics").await.text().await.unwrap();
            let errors = sample(&text, "steering_route_poll_errors_total");
            if errors > Some(0.0) && sample(&text, "steering_routes_stale_seconds") > Some(1.0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, away)
        .await
        .expect("noticed in time");
    let answer = p.json(RANK).await;
    assert_eq!(answer["ranked"][0]["appliance"], "par-1");
    assert!(
        answer["routes"]["stale_seconds"].as_f64().unwrap() > 1.0,
        "{answer}"
    );
    assert!(
        p.json("/readyz").await["routes"]["stale_seconds"]
            .as_f64()
            .unwrap()
            > 1.0
    );

    // Another run of the control plane: it numbers anew, and has not heard par-1 yet.
    let listener = TcpListener::bind(&address).await.unwrap();
    let told = whole(900, announce("lon-1", &["198.51.100.0/25"]));
    let control = Control::on(listener, fleet(), told);
    let answer = ranked_by(&p, 900).await;
    assert_eq!(answer["ranked"][0]["appliance"], "lon-1");
    assert_eq!(answer["ranked"][1]["appliance"], "par-1");
    assert_eq!(answer["ranked"][1]["tier"], "routed");
    control.task.abort();
}
