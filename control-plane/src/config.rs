//! The command line, in two steps: what clap parses, then a checked [`Config`] that touches nothing.

use cdn_types::api::v1::{REPORT_SECONDS, Role};
use clap::{Args, Parser, Subcommand, ValueEnum};
use http::Uri;
use std::{net::SocketAddr, path::PathBuf};

/// Longest interval of reports, in seconds: lost appliances must be seen within minutes.
const MAX_REPORT_SECONDS: u64 = 600;

/// The fleet's registry: titles, sites, appliances, reports, plans, tokens and the operator's pages.
#[derive(Debug, Parser)]
#[command(name = "control-plane", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Log filter, e.g. `info` or `control_plane=debug`.
    #[arg(long, global = true, env = "RUST_LOG", default_value = "info")]
    pub log: String,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the API and the pages.
    Serve(ServeArgs),
    /// Make an API token and print it; the server need not run.
    Token(TokenArgs),
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Directory of the database; made if it is missing.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    /// Where this program is reached, if not at the address it listens on.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Where objects are kept: `file:///dir` or `s3://bucket/prefix` (AWS_* variables); DIR/origin by default.
    #[arg(long, value_name = "URL")]
    pub origin_store: Option<String>,
    /// Where the origin store is served over HTTP, e.g. by `oca-server serve --root DIR/origin`.
    #[arg(long, value_name = "URL")]
    pub origin_url: Option<String>,
    /// Where steering is reached, for the player's page.
    #[arg(long, value_name = "URL")]
    pub steering_url: Option<String>,
    /// Folder of the player scripts (`node_modules`).
    #[arg(long, value_name = "DIR")]
    pub players: Option<PathBuf>,
    /// Seconds between two reports of an appliance.
    #[arg(long, value_name = "N", default_value_t = REPORT_SECONDS)]
    pub report_seconds: u64,
}

/// Arguments of `token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// Directory of the database.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// What the token's bearer may do.
    #[arg(long)]
    pub role: RoleArg,
    /// Who has it, for people.
    #[arg(long)]
    pub name: String,
}

/// Roles that a token can be made for; an appliance gets its token when it joins.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RoleArg {
    /// Everything.
    Admin,
    /// Plans and history.
    Planner,
    /// Steering's counters.
    Service,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Admin => Role::Admin,
            RoleArg::Planner => Role::Planner,
            RoleArg::Service => Role::Service,
        }
    }
}

/// Why the arguments are refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No usable HTTP address.
    #[error("--{flag} `{text}`: {why}")]
    Url {
        /// Which flag.
        flag: &'static str,
        /// As given.
        text: String,
        /// What is wrong.
        why: &'static str,
    },
    /// No usable store.
    #[error("--origin-store `{0}` is neither file:///absolute/dir nor s3://bucket/prefix")]
    Store(String),
    /// Out of range.
    #[error("--report-seconds {0} is not 1 to {MAX_REPORT_SECONDS}")]
    ReportSeconds(u64),
}

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginStore {
    /// Below a directory.
    Directory(PathBuf),
    /// In an S3-compatible bucket.
    Bucket {
        /// Its name.
        bucket: String,
        /// What its keys begin with; may be empty; no slash at either end.
        prefix: String,
    },
}

/// What `serve` runs with, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the database.
    pub data: PathBuf,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Where this program is reached, if told; no slash at the end, like every URL here.
    pub public_url: Option<String>,
    /// Where objects are kept; none: `origin` below `data`.
    pub origin_store: Option<OriginStore>,
    /// Where the store is served.
    pub origin_url: Option<String>,
    /// Where steering is reached.
    pub steering_url: Option<String>,
    /// Folder of the player scripts.
    pub players: Option<PathBuf>,
    /// Seconds between two reports of an appliance.
    pub report_seconds: u64,
}

impl TryFrom<ServeArgs> for Config {
    type Error = ConfigError;

    fn try_from(args: ServeArgs) -> Result<Self, ConfigError> {
        if !(1..=MAX_REPORT_SECONDS).contains(&args.report_seconds) {
            return Err(ConfigError::ReportSeconds(args.report_seconds));
        }
        let url = |flag, text: Option<String>| {
            text.map(|text| base_url(&text).map_err(|why| ConfigError::Url { flag, text, why }))
                .transpose()
        };
        Ok(Self {
            public_url: url("public-url", args.public_url)?,
            origin_url: url("origin-url", args.origin_url)?,
            steering_url: url("steering-url", args.steering_url)?,
            origin_store: args.origin_store.map(|s| origin_store(&s)).transpose()?,
            data: args.data,
            listen: args.listen,
            players: args.players,
            report_seconds: args.report_seconds,
        })
    }
}

fn origin_store(text: &str) -> Result<OriginStore, ConfigError> {
    let wrong = || ConfigError::Store(text.to_owned());
    if let Some(path) = text.strip_prefix("file://") {
        return match path.starts_with('/') {
            true => Ok(OriginStore::Directory(path.into())),
            false => Err(wrong()),
        };
    }
    let rest = text.strip_prefix("s3://").ok_or_else(wrong)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(wrong());
    }
    Ok(OriginStore::Bucket {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
    })
}

/// Checks an address below which public paths are reached: `http://host[:port][/path]`; a slash at the end goes.
pub fn base_url(text: &str) -> Result<String, &'static str> {
    let uri: Uri = text.parse().map_err(|_| "this is no URL")?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err("it must begin with http:// or https://"),
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("it must have neither a query nor a fragment");
    }
    match uri.authority() {
        Some(a) if !a.host().is_empty() && !a.as_str().contains('@') => {}
        _ => return Err("it must name a host, and no user"),
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_lose_their_last_slash() {
        assert_eq!(
            base_url("http://127.0.0.2:8080/"),
            Ok("http://127.0.0.2:8080".into())
        );
        assert_eq!(
            base_url("https://cdn.example/a"),
            Ok("https://cdn.example/a".into())
        );
        assert_eq!(base_url("http://[::1]:80"), Ok("http://[::1]:80".into()));
        for bad in [
            "",
            "cdn.example",
            "ftp://x",
            "http://",
            "http://x/?q",
            "http://u:p@x",
            "http://x/#f",
            "/x",
        ] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stores_are_directories_or_buckets() {
        assert_eq!(
            origin_store("file:///srv/o"),
            Ok(OriginStore::Directory("/srv/o".into()))
        );
        assert_eq!(
            origin_store("s3://b/a/c/"),
            Ok(OriginStore::Bucket {
                bucket: "b".into(),
                prefix: "a/c".into()
            })
        );
        for bad in ["", "/srv/o", "file://srv/o", "s3://", "s3:///x", "gs://b"] {
            assert!(origin_store(bad).is_err(), "{bad}");
        }
    }
}
