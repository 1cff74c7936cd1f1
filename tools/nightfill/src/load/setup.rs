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
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Everything that connections need to know; the same for all.
pub(super) struct Setup {
    /// Where the server is.
    pub server: SocketAddr,
    /// Its name, which its certificate must have.
    pub name: ServerName<'static>,
    /// Its name and port as requests say them.
    pub authority: String,
    /// Scheme and authority.
    pub base: String,
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
        let slow = args.rate.is_some() || args.idle;
        let tls = is_tls
            .then(|| trust::config(trust(args), args.http.alpn()))
            .transpose()?;
        let quic = match (&tls, args.http) {
            (Some(tls), Http::Three) => Some(h3::config(tls.clone(), slow)?),
            _ => None,
        };
        Ok(Self {
            server,
            name,
            base: format!("{}://{authority}", origin.scheme()),
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
            rate: args.rate.map(|bits| bits / 8),
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
