//! Imports go one way: tools, benches → services → cores → cdn-types. Read from `cargo metadata`, so that a rule
//! cannot be passed by in a manifest that nobody looks at.

use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

/// Programs; they meet only in `cdn_types::api::v1`.
const SERVICES: &[&str] = &["oca-server", "steering-service", "fill-planner", "control-plane"];
/// Pure crates: time and randomness are arguments.
const CORES: &[&str] = &["oca-core", "steering-core", "fill-core", "url-signing"];
/// What no core may reach, even through others.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "hyper-util",
    "axum",
    "reqwest",
    "rustls",
    "tokio-rustls",
    "quinn",
    "quinn-proto",
    "io-uring",
    "socket2",
    "mio",
    "nix",
    "sqlx",
    "object_store",
    "getrandom",
    "rand",
    "tracing",
];

/// What a core may reach all the same. ring names getrandom for its `SystemRandom`, which url-signing never makes: it
/// takes a `SecureRandom` as an argument wherever a signature wants one.
const PARDONED: &[(&str, &str)] = &[("url-signing", "getrandom")];

/// Every broken import rule.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let graph = Graph::load(root)?;
    let mut faults = Vec::new();
    for (name, deps) in &graph.direct {
        let layer = layer(name);
        for dep in deps.iter().filter(|d| graph.direct.contains_key(*d)) {
            let allowed = match layer {
                Layer::Types => false,
                Layer::Core => dep == "cdn-types",
                Layer::Service => dep == "cdn-types" || CORES.contains(&dep.as_str()),
                Layer::Tool => true,
            };
            if !allowed {
                faults.push(format!("{name} imports {dep}: {}", reason(&layer)));
            }
        }
        if layer == Layer::Core || layer == Layer::Types {
            for bad in graph
                .reached(name)
                .iter()
                .filter(|d| IMPURE.contains(&d.as_str()) && !PARDONED.contains(&(name, d)))
            {
                faults.push(format!(
                    "{name} reaches {bad}: types and cores hold no runtime, socket, clock or randomness"
                ));
            }
        }
    }
    Ok(faults)
}

#[derive(PartialEq)]
enum Layer {
    Types,
    Core,
    Service,
    Tool,
}

fn layer(name: &str) -> Layer {
    match name {
        "cdn-types" => Layer::Types,
        n if CORES.contains(&n) => Layer::Core,
        n if SERVICES.contains(&n) => Layer::Service,
        _ => Layer::Tool,
    }
}

fn reason(layer: &Layer) -> &'static str {
    match layer {
        Layer::Types => "cdn-types imports no other member",
        Layer::Core => "a core imports cdn-types alone",
        Layer::Service => "services import cores and cdn-types; they meet in cdn_types::api::v1",
        Layer::Tool => "tools may import all",
    }
}

/// Normal (not dev, not build) dependencies.
struct Graph {
    /// Member → names of its direct dependencies.
    direct: BTreeMap<String, BTreeSet<String>>,
    /// Package id → (name, ids of its dependencies), over the whole resolved graph.
    resolved: BTreeMap<String, (String, Vec<String>)>,
}

impl Graph {
    fn load(root: &Path) -> Result<Self> {
        let out = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args([
                "metadata",
                "--format-version",
                "1",
                "--locked",
                "--filter-platform",
                "x86_64-unknown-linux-gnu",
            ])
            .current_dir(root)
            .output()
            .context("cannot run cargo metadata")?;
        anyhow::ensure!(
            out.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        let meta: Value = serde_json::from_slice(&out.stdout)?;
        let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();

        let names: BTreeMap<String, String> = list(&meta["packages"])
            .iter()
            .map(|p| (text(&p["id"]), text(&p["name"])))
            .collect();
        let normal = |dep: &Value| list(&dep["dep_kinds"]).iter().any(|k| k["kind"].is_null());
        let resolved: BTreeMap<_, _> = list(&meta["resolve"]["nodes"])
            .iter()
            .map(|n| {
                let deps: Vec<String> = list(&n["deps"])
                    .iter()
                    .filter(|d| normal(d))
                    .map(|d| text(&d["pkg"]))
                    .collect();
                let id = text(&n["id"]);
                (id.clone(), (names.get(&id).cloned().unwrap_or_default(), deps))
            })
            .collect();
        let direct = list(&meta["workspace_members"])
            .iter()
            .filter_map(|id| resolved.get(&text(id)))
            .map(|(name, deps)| {
                (
                    name.clone(),
                    deps.iter().filter_map(|d| names.get(d).cloned()).collect(),
                )
            })
            .collect();
        Ok(Self { direct, resolved })
    }

    /// Names of everything that `member` reaches.
    fn reached(&self, member: &str) -> BTreeSet<String> {
        let mut todo: Vec<&String> = self
            .resolved
            .iter()
            .filter(|(_, (n, _))| n == member)
            .map(|(id, _)| id)
            .collect();
        let mut seen = BTreeSet::new();
        let mut names = BTreeSet::new();
        while let Some(id) = todo.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Some((name, deps)) = self.resolved.get(id) {
                names.insert(name.clone());
                todo.extend(deps);
            }
        }
        names
    }
}
