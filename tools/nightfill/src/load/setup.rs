//! Arguments become a setup that is known to be sound: one server with its address, its paths, its TLS.

use super::{
    Http, LoadArgs,
    choice::{Popularity, Sweep, Target},
    h3,
    trust::{self, Trust},
};
use anyhow::{Context, bail, ensure};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use rustls::pki_types::ServerName;
use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Receive windows of a stream and of a connection.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
/// Those of slow readers.
const SLOW_WINDOW: RangeInclusive<u32> = 16 << 10..=256 << 10;
const SLOW_WINDOWS_A_SECOND: u64 = 4;
/// What HTTP/2 begins a connection with, and cannot make smaller.
pub(super) const DEFAULT_WINDOW: u32 = 65_535;

/// Everything that connections need to know; the same for all.
pub(super) struct Setup {
    /// Where the server is.
    pub server: SocketAddr,
    /// Its name, which its certificate must have.
    pub name: ServerName<'static>,
    /// Its name and port as requests say them.
    pub authority: String,
    /// Version of HTTP.
    pub http: Http,
    /// TLS over TCP; none for plain connections.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// QUIC, for HTTP/3.
    pub quic: Option<quinn::ClientConfig>,
    /// Paths, the most popular first.
    pub targets: Vec<Target>,
    /// How popular.
    pub popularity: Popularity,
    /// Connections at a time.
    pub connections: usize,
    /// Requests at a time on each.
    pub streams: usize,
    /// Length of the parts that are asked for; whole objects if absent.
    pub range: Option<u64>,
    /// Whether every part is asked for once.
    pub sweep: bool,
    /// Pace of a slow reader in bytes a second.
    pub rate: Option<u64>,
    /// Whether connections are held idle after one request.
    pub idle: bool,
    /// Most time that a request may take.
    pub timeout: Option<Duration>,
    /// Bytes after which an HTTP/3 client moves to another port.
    pub rebind_after: Option<u64>,
    /// Seed of what is asked for.
    pub seed: u64,
}

impl Setup {
    /// Checks `args`, looks the server's name up and reads the files that they name.
    pub(super) async fn new(args: &LoadArgs) -> anyhow::Result<Self> {
        let (origin, paths) = paths(args)?;
        let is_tls = match origin.scheme() {
            "https" => true,
            "http" => false,
            other => bail!("{other}: only http and https are spoken"),
        };
        ensure!(
            is_tls || args.http != Http::Three,
            "HTTP/3 needs an https:// address"
        );
        ensure!(
            args.rebind_after.is_none() || args.http == Http::Three,
            "--rebind-after is for --http 3"
        );
        let host = origin.host_str().context("the address names no host")?;
        let port = origin
            .port_or_known_default()
            .context("the address names no port")?;
        let bare = host.trim_matches(['[', ']']);
        let server = tokio::net::lookup_host((bare, port))
            .await
            .with_context(|| format!("{host} is not known"))?
            .next()
            .with_context(|| format!("{host} has no address"))?;
        let name =
            ServerName::try_from(bare.to_owned()).with_context(|| format!("{host} is no host name"))?;
        let authority = match origin.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let rate = args.rate.map(|bits| bits / 8);
        let tls = is_tls
            .then(|| trust::config(trust(args), args.http.alpn()))
            .transpose()?;
        let quic = match (&tls, args.http) {
            (Some(tls), Http::Three) => Some(h3::config(
                tls.clone(),
                windows(rate, rate.is_some() || args.idle),
            )?),
            _ => None,
        };
        Ok(Self {
            server,
            name,
            authority,
            http: args.http,
            tls: tls.map(Arc::new),
            quic,
            popularity: Popularity::new(paths.len(), args.zipf),
            targets: targets(&paths, args)?,
            connections: args.connections,
            streams: if args.http == Http::One { 1 } else { args.streams },
            range: args.range,
            sweep: args.sweep,
            rate,
            idle: args.idle,
            timeout: args.timeout.map(Duration::from_secs_f64),
            rebind_after: args.rebind_after,
            seed: args.seed,
        })
    }

    /// Whether sizes of objects must be known before the start.
    pub(super) fn needs_sizes(&self) -> bool {
        (self.range.is_some() || self.idle) && self.targets.iter().any(|t| t.size.is_none())
    }

    /// The order of a sweep, once all sizes are known.
    pub(super) fn sweep(&self) -> Option<Sweep> {
        let length = self.range.filter(|_| self.sweep)?;
        let sizes: Vec<_> = self.targets.iter().map(|t| t.size.unwrap_or(0)).collect();
        Some(Sweep::new(&sizes, length))
    }

    /// Whether connections read in small bites.
    pub(super) fn is_slow(&self) -> bool {
        self.rate.is_some() || self.idle
    }

    /// Windows of a stream and of its connection (HTTP/2 and 3).
    pub(super) fn windows(&self) -> (u32, u32) {
        windows(self.rate, self.is_slow())
    }
}

/// Large ones, so that the server never waits; of a slow reader, what it reads in a short while, so that the server has to.
fn windows(rate: Option<u64>, is_slow: bool) -> (u32, u32) {
    if !is_slow {
        return (STREAM_WINDOW, CONNECTION_WINDOW);
    }
    let wanted = rate.map_or(u64::MAX, |rate| rate / SLOW_WINDOWS_A_SECOND);
    let window = u32::try_from(wanted).unwrap_or(u32::MAX);
    let window = window.clamp(*SLOW_WINDOW.start(), *SLOW_WINDOW.end());
    (window, window.max(DEFAULT_WINDOW))
}

fn trust(args: &LoadArgs) -> Trust<'_> {
    if args.insecure {
        Trust::Everybody
    } else {
        Trust::Bundle(&args.ca)
    }
}

/// The one server that is meant, and the paths on it.
fn paths(args: &LoadArgs) -> anyhow::Result<(Url, Vec<String>)> {
    let parse = |text: &str| Url::parse(text).with_context(|| format!("{text} is not a URL"));
    let mut urls = args
        .urls
        .iter()
        .map(|u| parse(u))
        .collect::<Result<Vec<_>, _>>()?;
    if let (Some(base), Some(file)) = (&args.base, &args.paths) {
        let base = parse(base)?;
        let list =
            std::fs::read_to_string(file).with_context(|| format!("list of paths {}", file.display()))?;
        for line in list.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let url = base
                .join(line)
                .with_context(|| format!("{}: {line} is not a path", file.display()))?;
            urls.push(url);
        }
    }
    let origin = urls
        .first()
        .context("no URL: give some, or --base and --paths with a line a path")?;
    let server = |u: &Url| {
        (
            u.scheme().to_owned(),
            u.host_str().map(str::to_owned),
            u.port_or_known_default(),
        )
    };
    if let Some(other) = urls.iter().find(|u| server(u) != server(origin)) {
        bail!("{origin} and {other} are of two servers: one run loads one server");
    }
    let path = |u: &Url| match u.query() {
        Some(query) => format!("{}?{query}", u.path()),
        None => u.path().to_owned(),
    };
    Ok((origin.clone(), urls.iter().map(path).collect()))
}

fn targets(paths: &[String], args: &LoadArgs) -> anyhow::Result<Vec<Target>> {
    let target = |path: &String| {
        let Some(tree) = &args.tree else {
            return Ok(Target {
                path: path.clone(),
                size: None,
                file: None,
            });
        };
        let file = local(tree, path)?;
        let metadata = std::fs::metadata(&file)
            .with_context(|| format!("{path} is compared with {}", file.display()))?;
        Ok(Target {
            path: path.clone(),
            size: Some(metadata.len()),
            file: args.verify.then_some(file),
        })
    };
    paths.iter().map(target).collect()
}

/// The file of a public path below `tree`.
fn local(tree: &Path, path: &str) -> anyhow::Result<PathBuf> {
    let path = path.split('?').next().unwrap_or(path);
    let name = percent_decode_str(path).decode_utf8()?;
    let below = Path::new(name.trim_start_matches('/'));
    let is_plain = below.components().all(|c| matches!(c, Component::Normal(_)));
    ensure!(is_plain, "{path} leads out of {}", tree.display());
    Ok(tree.join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_and_stay_in_the_tree() {
        let tree = Path::new("/tree");
        assert_eq!(
            local(tree, "/t/a%20b.mp4?x=1").unwrap(),
            Path::new("/tree/t/a b.mp4")
        );
        assert!(local(tree, "/%2e%2e/etc/passwd").is_err());
    }
}
