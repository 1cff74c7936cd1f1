//! The command line, and what it means once it has been checked.

use crate::{
    decisions::DecisionLogConfig,
    dns::{DnsArgs, DnsConfig, DnsConfigError},
    http::advertisement::CdniConfig,
    poll_rate::DEFAULT_POLLS,
    signing::SigningConfig,
    steering_list::{DEFAULT_TTL, MAX_TTL, MIN_TTL},
};
use axum::http::HeaderName;
use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Ranks appliances for viewers: JSON, 302, personalised manifests, content steering.
#[derive(Debug, Parser)]
#[command(name = "steering-service", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve viewers.
    Serve(ServeArgs),
}

/// `serve`, as typed.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Control plane to take the fleet from, http(s)://host:port
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "snapshot",
        conflicts_with = "snapshot"
    )]
    control: Option<String>,
    /// Fleet snapshot to work from without a control plane; read again when the file changes
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    /// Service token for reports to the control plane: a file, or the name of an environment variable
    #[arg(long, value_name = "FILE_OR_ENV")]
    token: Option<String>,
    /// Address under which players reach this service; default: the Host that each request names
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// File with the key (16 bytes or more) that signs sessions; default: a random one, so that sessions end with the process
    #[arg(long, value_name = "FILE")]
    session_key: Option<PathBuf>,
    /// Network of a proxy whose X-Forwarded-For is believed; may be repeated
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    trusted_proxies: Vec<IpNet>,
    /// Network of a proxy whose connections begin with a PROXY protocol header, version 2, that is believed; may be repeated
    #[arg(long, value_name = "CIDR")]
    proxy_protocol: Vec<IpNet>,
    /// Seconds within which sessions follow a change of their ranking, 4 to 300: they are told to poll after 65 to 75 % of it, never sooner than 4
    #[arg(long, value_name = "S", default_value_t = DEFAULT_TTL, value_parser = clap::value_parser!(u32).range(MIN_TTL as i64..=MAX_TTL as i64))]
    ttl: u32,
    /// Polls of sessions a second from which on TTLs get longer, in proportion
    #[arg(long, value_name = "N", default_value_t = DEFAULT_POLLS, value_parser = clap::value_parser!(u32).range(1..))]
    polls_per_second: u32,
    /// Path that is asked at every appliance's address, e.g. /healthz: an answer below 500 in a second is a good one; default: none is asked
    #[arg(long, value_name = "PATH", value_parser = probe_path)]
    probe_path: Option<String>,
    /// Policy file (TOML); read again when it changes and on SIGHUP
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Header in which a trusted proxy names the viewer's country by two letters, for licences and rules
    #[arg(long, value_name = "NAME")]
    country_header: Option<HeaderName>,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    cdni: CdniArgs,
    #[command(flatten)]
    dns: DnsArgs,
    #[command(flatten)]
    decisions: DecisionArgs,
    /// File that keeps the last snapshot over a restart
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
    /// Log filter, e.g. info or steering_service=debug; default: RUST_LOG, else info
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

/// Signed addresses.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signed addresses")]
struct SigningArgs {
    /// Issuers' keys (JSON, docs/formats/signing-keys.md): every address carries a token by RFC 9246; read again on change
    #[arg(long, value_name = "FILE", requires = "signing_issuer")]
    signing_keys: Option<PathBuf>,
    /// Issuer in whose name addresses are signed
    #[arg(long, value_name = "NAME", requires = "signing_keys")]
    signing_issuer: Option<String>,
    /// Name of the path parameter with the token
    #[arg(long, value_name = "NAME", default_value = url_signing::DEFAULT_ATTRIBUTE, value_parser = attribute)]
    signing_attribute: String,
    /// Audience to name in tokens
    #[arg(long, value_name = "NAME", requires = "signing_keys")]
    signing_audience: Option<String>,
    /// Hours that a token lives: longer than a title with its pauses, 1 to 168
    #[arg(long, value_name = "H", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=168))]
    signing_hours: u32,
    /// Leave the addresses of the origin unsigned: for one that takes no tokens
    #[arg(long, requires = "signing_keys")]
    unsigned_fallback: bool,
}

/// What is offered to other networks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Interconnection (CDNI)")]
struct CdniArgs {
    /// Keys of upstream networks (JSON, docs/formats/signing-keys.md) that may read /OC/FCI/advertisement; read again on change
    #[arg(long, value_name = "FILE", requires = "cdni_name")]
    cdni_keys: Option<PathBuf>,
    /// Name of this network: the audience of their tokens
    #[arg(long, value_name = "NAME", requires = "cdni_keys")]
    cdni_name: Option<String>,
}

impl CdniArgs {
    fn config(self, dns: bool) -> Option<CdniConfig> {
        Some(CdniConfig {
            keys: self.cdni_keys?,
            name: self.cdni_name?,
            dns,
        })
    }
}

fn attribute(name: &str) -> Result<String, url_signing::ParameterError> {
    url_signing::check_attribute(name).map(|()| name.to_owned())
}

impl SigningArgs {
    fn config(self) -> Option<SigningConfig> {
        Some(SigningConfig {
            keys: self.signing_keys?,
            issuer: self.signing_issuer?,
            attribute: self.signing_attribute,
            audience: self.signing_audience,
            life: Duration::from_secs(u64::from(self.signing_hours) * 3600),
            fallback: !self.unsigned_fallback,
        })
    }
}

/// The decision log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Decision log")]
struct DecisionArgs {
    /// Folder for the decision log (docs/formats/decision-log.md), which nightfill steer replay reads
    #[arg(long, value_name = "DIR")]
    decision_log: Option<PathBuf>,
    /// MiB from which on the next file is begun, 1 to 4096
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    decision_log_mib: u64,
    /// Files that are kept, 2 to 10000; the oldest goes
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=10_000))]
    decision_log_files: u16,
}

impl DecisionArgs {
    fn config(self) -> Option<DecisionLogConfig> {
        Some(DecisionLogConfig {
            dir: self.decision_log?,
            file_bytes: self.decision_log_mib << 20,
            files: self.decision_log_files.into(),
        })
    }
}

/// Where the fleet comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Long poll of a control plane: scheme and authority, no trailing slash.
    Control {
        /// Its address.
        url: String,
        /// File or environment variable with the token for reports.
        token: Option<String>,
        /// Where the last snapshot is kept.
        cache: Option<PathBuf>,
    },
    /// A file.
    File(PathBuf),
}

/// What to run, checked; nothing has been opened yet.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the fleet comes from.
    pub source: Source,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Scheme and authority that players use, no trailing slash; absent: from each request's Host.
    pub public_url: Option<String>,
    /// Where the session key is.
    pub session_key: Option<PathBuf>,
    /// Proxies whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Proxies whose connections begin with a PROXY protocol header.
    pub proxy_protocol: Vec<IpNet>,
    /// Seconds between two polls of a session.
    pub ttl: u32,
    /// Polls a second from which on TTLs get longer.
    pub polls_per_second: u32,
    /// What appliances are asked to see whether they are well, if they are.
    pub probe_path: Option<String>,
    /// Where the policy is.
    pub policy: Option<PathBuf>,
    /// Where trusted proxies name the country.
    pub country_header: Option<HeaderName>,
    /// How addresses are signed, if they are.
    pub signing: Option<SigningConfig>,
    /// Who is told what this network offers, if anybody.
    pub cdni: Option<CdniConfig>,
    /// The DNS door, if there shall be one.
    pub dns: Option<DnsConfig>,
    /// Where decisions are logged, if they are.
    pub decisions: Option<DecisionLogConfig>,
}

/// What is wrong with the command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an address.
    #[error("{option} {url}: give http://host:port or https://host:port, without query or fragment")]
    Url {
        /// The option.
        option: &'static str,
        /// What was given.
        url: String,
    },
    /// Nobody would be believed.
    #[error("--country-header goes with --trusted-proxy: from nobody else the header is believed")]
    NeedsProxy,
    /// Something that only a control plane has a use for.
    #[error("{0} goes with --control: without a control plane there is nothing to report to, or to keep")]
    NeedsControl(&'static str),
    /// The DNS door.
    #[error(transparent)]
    Dns(#[from] DnsConfigError),
}

impl TryFrom<ServeArgs> for Config {
    type Error = ConfigError;
    fn try_from(args: ServeArgs) -> Result<Self, ConfigError> {
        let source = match (args.control, args.snapshot) {
            (Some(url), _) => Source::Control {
                url: base_url("--control", &url)?,
                token: args.token,
                cache: args.cache,
            },
            (None, _) if args.token.is_some() => return Err(ConfigError::NeedsControl("--token")),
            (None, _) if args.cache.is_some() => return Err(ConfigError::NeedsControl("--cache")),
            (None, file) => Source::File(file.expect("clap demands --control or --snapshot")),
        };
        if args.country_header.is_some() && args.trusted_proxies.is_empty() {
            return Err(ConfigError::NeedsProxy);
        }
        let public_url = args
            .public_url
            .map(|url| base_url("--public-url", &url))
            .transpose()?;
        let dns = args.dns.config()?;
        Ok(Self {
            source,
            listen: args.listen,
            public_url,
            session_key: args.session_key,
            trusted_proxies: args.trusted_proxies,
            proxy_protocol: args.proxy_protocol,
            ttl: args.ttl,
            polls_per_second: args.polls_per_second,
            probe_path: args.probe_path,
            policy: args.policy,
            country_header: args.country_header,
            signing: args.signing.config(),
            cdni: args.cdni.config(dns.is_some()),
            dns,
            decisions: args.decisions.config(),
        })
    }
}

fn probe_path(path: &str) -> Result<String, &'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    match path.starts_with('/') && path.bytes().all(plain) {
        true => Ok(path.to_owned()),
        false => Err("give a path that begins with / and needs no escapes"),
    }
}

fn base_url(option: &'static str, url: &str) -> Result<String, ConfigError> {
    let base = url.trim_end_matches('/');
    let rest = base
        .strip_prefix("http://")
        .or_else(|| base.strip_prefix("https://"));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_~:[]/".contains(&b);
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(plain) => {
            Ok(base.to_owned())
        }
        _ => Err(ConfigError::Url {
            option,
            url: url.chars().take(80).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> Result<Config, String> {
        let cli = Cli::try_parse_from([&["steering-service", "serve"], args].concat())
            .map_err(|e| e.to_string())?;
        let Command::Serve(args) = cli.command;
        Config::try_from(args).map_err(|e| e.to_string())
    }

    #[test]
    fn a_source_is_needed_and_only_one() {
        assert!(config(&[]).is_err());
        assert!(config(&["--control", "http://c:1", "--snapshot", "f"]).is_err());
        let c = config(&["--control", "http://c:1/", "--cache", "k"]).unwrap();
        assert!(matches!(c.source, Source::Control { url, .. } if url == "http://c:1"));
        assert!(config(&["--snapshot", "f", "--cache", "k"]).is_err());
    }

    #[test]
    fn values_are_checked() {
        for bad in [
            &["--ttl", "3"][..],
            &["--ttl", "301"],
            &["--polls-per-second", "0"],
            &["--probe-path", "healthz"],
            &["--probe-path", "/a b"],
            &["--public-url", "steer.example"],
            &["--public-url", "http://x/?a"],
            &["--public-url", "http:///x"],
            &["--trusted-proxy", "10.0.0.0/33"],
            &["--listen", "8090"],
            &["--country-header", "x-country"],
            &["--signing-keys", "k"],
            &["--signing-issuer", "i"],
            &[
                "--signing-keys",
                "k",
                "--signing-issuer",
                "i",
                "--signing-hours",
                "0",
            ],
            &[
                "--signing-keys",
                "k",
                "--signing-issuer",
                "i",
                "--signing-attribute",
                "a=",
            ],
            &["--unsigned-fallback"],
            &["--cdni-keys", "k"],
            &["--cdni-name", "n"],
            &["--decision-log", "d", "--decision-log-mib", "0"],
            &["--dns-listen", "127.0.0.1:0"],
            &["--dns-zone", "cdn.example"],
            &[
                "--dns-listen",
                "127.0.0.1:0",
                "--dns-zone",
                "cdn.example",
                "--dns-ns",
                "ns1.cdn.example",
            ],
            &[
                "--dns-listen",
                "127.0.0.1:0",
                "--dns-zone",
                "cdn..example",
                "--dns-ns",
                "ns.test",
            ],
        ] {
            assert!(config(&[&["--snapshot", "f"], bad].concat()).is_err(), "{bad:?}");
        }
        let c = config(&[
            "--snapshot",
            "f",
            "--trusted-proxy",
            "10.0.0.0/8",
            "--trusted-proxy",
            "fd00::/8",
        ])
        .unwrap();
        assert_eq!((c.trusted_proxies.len(), c.ttl), (2, 20));
        assert_eq!(c.signing, None);
        let c = config(&["--snapshot", "f", "--signing-keys", "k", "--signing-issuer", "i"]).unwrap();
        let signing = c.signing.unwrap();
        assert_eq!((signing.life.as_secs(), signing.fallback), (4 * 3600, true));
    }
}
