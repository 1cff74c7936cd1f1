//! The OpenAPI document against the contract and against the running program.

use crate::harness::Control;
use reqwest::Method;
use serde_json::Value;
use std::{collections::BTreeSet, process::Command};

/// `GET /v1/x/{…}` of every call in the contract's table; names of path parameters do not matter.
fn contract() -> BTreeSet<String> {
    let text = include_str!("../../../cdn-types/src/api/v1.rs");
    let mut calls = BTreeSet::new();
    for row in text.lines().filter(|l| l.starts_with("//! | `")) {
        let cell = row.split('|').nth(1).unwrap();
        let mut last = String::new();
        for call in cell.split('`').skip(1).step_by(2) {
            let full = match call.strip_prefix('…') {
                Some(rest) => last.rsplit_once('/').unwrap().0.to_owned() + rest,
                None => call.to_owned(),
            };
            calls.insert(normal(&full));
            last = full;
        }
    }
    calls
}

fn normal(call: &str) -> String {
    let call = call.split('?').next().unwrap().replace("/t/...", "/t/{path}");
    let parts = call.split('/').map(|p| if p.starts_with('{') { "{}" } else { p });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn the_document_covers_the_contract_and_the_program() {
    let control = Control::start();
    let document: Value = control.get("/v1/openapi.json").await.to();
    assert_eq!(document["openapi"], "3.1.0");
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            documented.insert(normal(&format!("{} {path}", method.to_uppercase())));
            check(path, method, operation);
            // The program knows the call: whatever it answers, it is not that there is none.
            let parts = path.split('/').map(|p| if p.starts_with('{') { "1" } else { p });
            let url = parts.collect::<Vec<_>>().join("/");
            let answer = control
                .call(method.to_uppercase().parse().unwrap(), &url, None, None)
                .await;
            let kind = answer.body["type"].as_str().unwrap_or_default();
            assert!(
                !["urn:nightfill:unknown_route", "urn:nightfill:wrong_method"].contains(&kind),
                "{method} {url}"
            );
        }
    }
    let own = ["/healthz", "/readyz", "/metrics", "/v1/openapi.json"].map(|p| format!("GET {p}"));
    let wanted: BTreeSet<_> = contract().into_iter().chain(own).collect();
    assert!(wanted.len() > 25, "the contract's table was not read");
    assert_eq!(documented, wanted);
    // Methods that are not documented are not there.
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            if item.get(method.to_lowercase()).is_none() {
                let parts = path.split('/').map(|p| if p.starts_with('{') { "1" } else { p });
                let url = parts.collect::<Vec<_>>().join("/");
                let method: Method = method.parse().unwrap();
                let answer = control.call(method.clone(), &url, None, None).await;
                assert_eq!(answer.problem(405), "wrong_method", "{method} {url}");
            }
        }
    }
}

fn check(path: &str, method: &str, operation: &Value) {
    let call = format!("{method} {path}");
    let in_path = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|p| p["in"] == "path")
        .count();
    assert_eq!(in_path, path.matches('{').count(), "{call}: path parameters");
    assert!(operation["summary"].is_string(), "{call}: no summary");
    let answers = operation["responses"].as_object().unwrap();
    assert!(
        answers.keys().any(|s| s.starts_with('2') || s.starts_with('3')),
        "{call}: no good answer"
    );
    let problem = &answers["default"]["content"]["application/problem+json"]["schema"]["$ref"];
    assert_eq!(problem, "#/components/schemas/Problem", "{call}");
    if operation.get("requestBody").is_some() {
        assert!(
            answers.contains_key("413") && answers.contains_key("422"),
            "{call}"
        );
    }
}

#[tokio::test]
async fn every_reference_in_the_document_resolves() {
    let control = Control::start();
    let document: Value = control.get("/v1/openapi.json").await.to();
    let mut found = 0;
    visit(&document, &mut |reference| {
        found += 1;
        let pointer = reference
            .strip_prefix('#')
            .expect("references stay within the document");
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} does not resolve"
        );
    });
    assert!(found > 50, "{found} references");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("openapi.json");
    std::fs::write(&file, document.to_string()).unwrap();
    // Where the validator is installed it has the last word.
    if let Ok(out) = Command::new("openapi-spec-validator").arg(&file).output() {
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    }
}

fn visit(value: &Value, on_reference: &mut impl FnMut(&str)) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                on_reference(reference);
            }
            map.values().for_each(|v| visit(v, on_reference));
        }
        Value::Array(list) => list.iter().for_each(|v| visit(v, on_reference)),
        _ => {}
    }
}
