//! Titles, their versions and their objects.

use crate::harness::{Control, digests, plan, report, title};
use cdn_types::api::v1::{Catalogue, ObjectInfo, TitleRegistration, TitleSummary};

#[tokio::test]
async fn registering_is_idempotent_and_checked() {
    let control = Control::start();
    let film = title("film", "bytes");
    for _ in 0..2 {
        let summary: TitleSummary = control.put("/v1/titles/film", &film).await.to();
        assert_eq!(summary.version, film.manifest.version());
    }
    let back: TitleRegistration = control.get("/v1/titles/film").await.to();
    assert_eq!(back, film);
    let object: ObjectInfo = control
        .get(&format!("/v1/objects/{}", digests(&film)[2]))
        .await
        .to();
    assert_eq!(object.path, format!("{}/v720.mp4", film.manifest.public_prefix()));
    assert_eq!(object.blocks, film.manifest.objects[2].blocks);
    let catalogue: Catalogue = control.get("/v1/catalogue").await.to();
    assert_eq!(catalogue.objects.len(), 3);

    type Edit = fn(&mut TitleRegistration);
    let table: [(&str, Edit); 5] = [
        ("`hls` is not the text of object `index.m3u8`", |t| {
            t.hls.push('x');
        }),
        ("`dash` is not the text of object", |t| t.dash.push('x')),
        ("block digests", |t| t.manifest.objects[2].blocks.clear()),
        ("`../x` is not allowed", |t| {
            t.manifest.objects[2].path = "../x".into();
        }),
        ("must be the same", |t| {
            t.manifest.id = cdn_types::TitleId::new("other").unwrap();
        }),
    ];
    for (word, edit) in table {
        let mut broken = film.clone();
        edit(&mut broken);
        let answer = control.put("/v1/titles/film", &broken).await;
        assert_eq!(answer.problem(422), "invalid", "{word}");
        assert!(answer.detail().contains(word), "{word}: {}", answer.detail());
    }
}

#[tokio::test]
async fn an_old_version_stays_while_it_is_held_or_planned() {
    let control = Control::start();
    let old = control.title("film", "the first cut").await;
    let object = format!("/v1/objects/{}", digests(&old)[2]);
    control.site("ams", "nl", "127.0.0.0/8").await;
    let token = control.join("a1", "ams").await;
    control
        .report("a1", &token, &report("b", 1, &digests(&old)))
        .await;
    let next = async |number: u64, title: &TitleRegistration| {
        control
            .post("/v1/plans", &control.admin, &plan(number, "a1", &[title]))
            .await
            .is(200);
        control
            .post(&format!("/v1/plans/{number}/activate"), &control.admin, &())
            .await
            .is(200);
    };
    next(1, &old).await;

    let new = control.title("film", "the director's cut").await;
    let summaries: Vec<TitleSummary> = control.get("/v1/titles").await.to();
    assert_eq!(
        (summaries.len(), &summaries[0].version),
        (1, &new.manifest.version())
    );
    let catalogue: Catalogue = control.get("/v1/catalogue").await.to();
    assert_eq!(
        catalogue.objects.len(),
        3,
        "only the current version is for planning"
    );
    control.get(&object).await.is(200);
    next(2, &new).await;
    control.get(&object).await.is(200);
    control
        .report("a1", &token, &report("b", 2, &digests(&new)))
        .await;
    control.get(&object).await.is(200);
    next(3, &new).await;
    assert_eq!(control.get(&object).await.problem(404), "not_found");
    control
        .get(&format!("/v1/objects/{}", digests(&new)[2]))
        .await
        .is(200);
}

#[tokio::test]
async fn a_removed_title_is_gone_and_its_objects_stay_while_listed() {
    let dir = tempfile::tempdir().unwrap();
    let control = Control::start_in(dir.path(), &[]);
    let film = control.title("film", "a film").await;
    let other = control.title("other", "another").await;
    let object = |t: &TitleRegistration| format!("/v1/objects/{}", digests(t)[2]);
    control.site("ams", "nl", "127.0.0.0/8").await;
    let token = control.join("a1", "ams").await;
    control
        .report("a1", &token, &report("b", 1, &digests(&film)))
        .await;
    let before = control.get("/v1/fleet").await.etag();

    let remove = async |control: &Control, id: &str| {
        let path = format!("/v1/titles/{id}");
        control
            .call(reqwest::Method::DELETE, &path, Some(&control.admin), None)
            .await
    };
    remove(&control, "other").await.is(204);
    assert_eq!(
        control.get(&object(&other)).await.problem(404),
        "not_found",
        "nobody lists it"
    );
    remove(&control, "film").await.is(204);
    assert_eq!(remove(&control, "film").await.problem(404), "not_found");
    assert_ne!(control.get("/v1/fleet").await.etag(), before, "steering is told");
    let gone = async |control: &Control| {
        assert!(control.fleet().await.titles.is_empty());
        assert_eq!(control.get("/v1/titles/film").await.problem(404), "not_found");
        assert!(
            control
                .get("/v1/titles")
                .await
                .to::<Vec<TitleSummary>>()
                .is_empty()
        );
        let catalogue: Catalogue = control.get("/v1/catalogue").await.to();
        assert!(catalogue.objects.is_empty());
        control.get(&object(&film)).await.is(200);
    };
    gone(&control).await;
    assert!(control.terminate().await.success());
    let control = Control::start_in(dir.path(), &[]);
    gone(&control).await;

    // What was removed by mistake comes back as it was.
    control.put("/v1/titles/film", &film).await.is(200);
    assert_eq!(control.fleet().await.titles.len(), 1);
    control.report("a1", &token, &report("b", 2, &[])).await;
    remove(&control, "film").await.is(204);
    assert_eq!(
        control.get(&object(&film)).await.problem(404),
        "not_found",
        "nobody holds it any more"
    );
}
