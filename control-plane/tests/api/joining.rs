//! One-time tokens.

use crate::harness::{Control, join_request, report};
use cdn_types::{
    OcaId, SiteId,
    api::v1::{ApplianceState, JoinAnswer, JoinToken, NewJoinToken},
};

#[tokio::test]
async fn a_join_token_is_good_until_the_first_report() {
    let control = Control::start();
    control.site("ams", "nl", "127.0.0.0/8").await;
    let secret = control.join_token("a1", "ams").await;
    let join = async |request| control.post("/v1/join", "", &request).await;

    let first: JoinAnswer = join(join_request(&secret, "a1")).await.to();
    assert_eq!(first.site.id.as_str(), "ams");
    let second: JoinAnswer = join(join_request(&secret, "a1")).await.to();
    assert_ne!(first.token, second.token);
    let ended = control
        .post("/v1/appliances/a1/report", &first.token, &report("b", 1, &[]))
        .await;
    assert_eq!(ended.problem(401), "unauthorized");
    control.report("a1", &second.token, &report("b", 1, &[])).await;

    let used = join(join_request(&secret, "a1")).await;
    assert_eq!(used.problem(401), "join_token");
    assert!(used.detail().contains("was used"), "{}", used.detail());
    control.report("a1", &second.token, &report("b", 2, &[])).await;
}

#[tokio::test]
async fn join_tokens_expire_and_fit_one_appliance() {
    let control = Control::start();
    control.site("ams", "nl", "127.0.0.0/8").await;
    let wanted = |site: &str, seconds| NewJoinToken {
        appliance: OcaId::new("a1").unwrap(),
        site: SiteId::new(site).unwrap(),
        valid_seconds: Some(seconds),
    };
    let make = async |wanted| control.post("/v1/join-tokens", &control.admin, &wanted).await;
    let join = async |request| control.post("/v1/join", "", &request).await;

    assert_eq!(make(wanted("mars", 60)).await.problem(422), "invalid");
    assert_eq!(make(wanted("ams", 0)).await.problem(422), "invalid");
    assert_eq!(make(wanted("ams", 31 * 86_400)).await.problem(422), "invalid");

    let short: JoinToken = make(wanted("ams", 1)).await.to();
    assert_eq!(
        join(join_request(&short.token, "a2")).await.problem(403),
        "forbidden"
    );
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let late = join(join_request(&short.token, "a1")).await;
    assert_eq!(late.problem(401), "join_token");
    assert!(late.detail().contains("expired"), "{}", late.detail());
    assert_eq!(join(join_request("nf_no", "a1")).await.problem(401), "join_token");

    let mut nowhere = join_request(&control.join_token("a1", "ams").await, "a1");
    nowhere.base_url = "a1.example".into();
    assert_eq!(join(nowhere).await.problem(422), "invalid");
}

#[tokio::test]
async fn an_appliance_that_joins_anew_starts_afresh() {
    let control = Control::start();
    let film = control.title("film", "bytes").await;
    control.site("ams", "nl", "127.0.0.0/8").await;
    control.site("lon", "uk", "10.0.0.0/8").await;
    let old = control.join("a1", "ams").await;
    control
        .report("a1", &old, &report("b", 1, &crate::harness::digests(&film)))
        .await;
    let new = control.join("a1", "lon").await;
    let view = control.appliance("a1").await;
    assert_eq!(
        (view.state, view.held, view.site.as_str()),
        (ApplianceState::Joined, 0, "lon")
    );
    let ended = control
        .post("/v1/appliances/a1/report", &old, &report("b", 2, &[]))
        .await;
    assert_eq!(ended.problem(401), "unauthorized");
    control.report("a1", &new, &report("c", 1, &[])).await;
}
