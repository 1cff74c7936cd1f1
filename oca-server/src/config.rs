//! The appliance's configuration: one TOML file, flat but for `[bgp]`, read in two steps. [`Config::parse`] checks the text alone and
//! names every problem at once, with its line, its key and how to mend it; [`Config::probe`] then looks at what the
//! file refers to (certificates, a token file, a profile) without changing anything. docs/formats/appliance-config.md
//! describes each key.

pub(crate) mod reader;
mod signing;

use crate::{
    bgp::config::BgpConfig,
    quic::Congestion,
    server::{EncryptedConfig, QuicConfig},
    signing::{Signing, SigningConfig},
    tls::identity::PairFiles,
};
use anyhow::{Context, anyhow};
use cdn_types::{BitsPerSecond, Bytes, OcaId, profile::HardwareProfile};
use reader::Reader;
use std::{
    collections::BTreeMap,
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Parallel range requests of a fill unless the file says otherwise.
const FILL_PARALLEL: u64 = 4;
/// Most parallel range requests: each holds one 1 MiB block in memory.
const MOST_FILL_PARALLEL: u64 = 64;
/// Most worker threads.
const MOST_WORKERS: u64 = 1024;
/// Longest time between two reports; the control plane takes an appliance for lost after three of its own.
const MOST_REPORT_SECONDS: u64 = 3600;
/// Longest time of a read from a drive unless the file says otherwise: a sound drive that retries a bad spot is quicker.
const DRIVE_STALL: u64 = 10;
/// Most of that.
const MOST_DRIVE_STALL: u64 = 3600;
/// Free bytes left on the file system unless the file says otherwise: room for logs, index and plan.
const MIN_FREE: Bytes = Bytes(64 << 20);

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1; absent if it is about what is missing.
    pub line: Option<usize>,
    /// The key.
    pub key: String,
    /// What is wrong and how to mend it.
    pub what: String,
}

impl Problem {
    /// As `FILE:LINE: key: what`.
    pub fn in_file(&self, file: &Path) -> String {
        let line = self.line.map_or_else(String::new, |l| format!(":{l}"));
        format!("{}{line}: {self}", file.display())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// Where the one-time token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinSecret {
    /// Written in the file.
    Inline(String),
    /// In a file of its own, trimmed.
    File(PathBuf),
}

impl JoinSecret {
    /// The token.
    pub fn read(&self) -> std::io::Result<String> {
        match self {
            Self::Inline(token) => Ok(token.clone()),
            Self::File(path) => Ok(fs::read_to_string(path)?.trim().to_owned()),
        }
    }
}

/// A checked configuration; it has touched nothing yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The appliance's id.
    pub id: OcaId,
    /// Base URL of the control plane, no trailing slash.
    pub control: String,
    /// The one-time token; needed until the appliance has joined.
    pub join_token: Option<JoinSecret>,
    /// Where viewers and peers reach it; absent = made from the address that it listens on.
    pub base_url: Option<String>,
    /// Address of the plain HTTP listener; port 0 = the kernel picks.
    pub listen: SocketAddr,
    /// HTTPS and HTTP/3. Its ticket keys are kept by the appliance, in its root.
    pub encrypted: Option<EncryptedConfig>,
    /// Whose tokens are asked for.
    pub signing: Option<SigningConfig>,
    /// Address of the admin listener.
    pub admin_listen: Option<SocketAddr>,
    /// The data folder.
    pub root: PathBuf,
    /// Drives for objects, instead of the data folder.
    pub drives: Vec<PathBuf>,
    /// How long a read from a drive may take before the drive is given up.
    pub drive_stall: Duration,
    /// Name of a built-in profile, or path of one.
    pub profile: String,
    /// Bytes for objects, instead of the profile's.
    pub storage: Option<Bytes>,
    /// Most that is sent to viewers, instead of the profile's.
    pub egress: Option<BitsPerSecond>,
    /// Rate cap of the fill, instead of the profile's.
    pub fill_rate: Option<BitsPerSecond>,
    /// Worker threads; absent = one a core of the profile, at most one a core of the machine.
    pub workers: Option<usize>,
    /// Range requests at the same time while filling.
    pub fill_parallel: usize,
    /// `-` (standard output), `off` or a file.
    pub access_log: String,
    /// Seconds between reports, instead of what the control plane answers.
    pub report_seconds: Option<u64>,
    /// Bytes of the file system that the fill leaves free.
    pub min_free: Bytes,
    /// The BGP listener.
    pub bgp: Option<BgpConfig>,
    lines: BTreeMap<String, usize>,
}

impl Config {
    /// Checks a file's text. Relative paths are taken from `folder`, the file's own.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Vec<Problem>> {
        let mut r = Reader::new(text)?;
        let id = r.required("id", "give the appliance's id as it stands in its join token");
        let control = r.required_url(
            "control",
            "give the control plane's address, e.g. http://control.example:8080",
        );
        let listen = r.required("listen", "give an address and port, e.g. 0.0.0.0:80");
        let root = r.string("root");
        if root.is_none() {
            r.missing(
                "root",
                "give the folder for objects and state, e.g. /var/lib/nightfill",
            );
        }
        let base_url = r.string("base_url");
        let base_url = base_url
            .filter(|u| u != "auto")
            .and_then(|u| r.url("base_url", &u));
        if let (None, Some(address)) = (&base_url, listen) {
            check_auto(&mut r, address);
        }
        let join_token = join_secret(&mut r, folder);
        let encrypted = encrypted(&mut r, folder);
        let signing = signing::signing(&mut r, folder);
        let profile = r.string("profile").unwrap_or_else(|| "laptop".to_owned());
        let access_log = r.string("access_log").unwrap_or_else(|| "-".to_owned());
        let workers = r.number("workers", 1, MOST_WORKERS);
        let fill_parallel = r.number("fill_parallel", 1, MOST_FILL_PARALLEL);
        let (admin_listen, storage, egress) =
            (r.parsed("admin_listen"), r.amount("storage"), r.amount("egress"));
        let (fill_rate, min_free) = (r.amount("fill_rate"), r.amount("min_free"));
        let drives = drives(&mut r);
        let drive_stall = r.number("drive_stall_seconds", 1, MOST_DRIVE_STALL);
        let bgp = BgpConfig::read(&mut r, folder);
        let report_seconds = r.number("report_seconds", 1, MOST_REPORT_SECONDS);
        let lines = r.finish()?;
        const CHECKED: &str = "a missing key is a problem, and there was none";
        Ok(Self {
            id: id.expect(CHECKED),
            control: control.expect(CHECKED),
            join_token,
            base_url,
            listen: listen.expect(CHECKED),
            encrypted,
            signing,
            admin_listen,
            root: folder.join(root.expect(CHECKED)),
            drives: drives.into_iter().map(|d| folder.join(d)).collect(),
            drive_stall: Duration::from_secs(drive_stall.unwrap_or(DRIVE_STALL)),
            profile: if profile.ends_with(".toml") {
                folder.join(profile).display().to_string()
            } else {
                profile
            },
            storage,
            egress,
            fill_rate,
            workers: workers.map(|w| w as usize),
            fill_parallel: fill_parallel.unwrap_or(FILL_PARALLEL) as usize,
            access_log: match access_log.as_str() {
                "-" | "off" => access_log,
                file => folder.join(file).display().to_string(),
            },
            report_seconds,
            min_free: min_free.unwrap_or(MIN_FREE),
            bgp,
            lines,
        })
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, or its first problem.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty());
        Self::parse(&text, folder.unwrap_or(Path::new(".")))
            .map_err(|problems| anyhow!("{}", problems[0].in_file(file)))
    }

    /// The profile: built in, or read from its file.
    pub fn hardware(&self) -> Result<HardwareProfile, Problem> {
        crate::machine::profile(&self.profile).map_err(|e| self.problem("profile", e.to_string()))
    }

    /// Looks at what the file refers to, changing nothing.
    pub fn probe(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(self.hardware().err());
        let mut readable = |key: &str, path: &Path| {
            if let Err(e) = fs::File::open(path).and_then(|f| f.metadata()) {
                problems.push(self.problem(key, format!("cannot read {}: {e}", path.display())));
            }
        };
        if let Some(JoinSecret::File(path)) = &self.join_token {
            readable("join_token_file", path);
        }
        for pair in self.encrypted.iter().flat_map(|e| &e.pairs) {
            readable("cert", &pair.cert);
            readable("key", &pair.key);
        }
        for neighbor in self.bgp.iter().flat_map(|b| &b.neighbors) {
            if let Some(file) = &neighbor.md5_file {
                readable("bgp", file);
            }
        }
        if let Some(Err(e)) = self.signing.clone().map(Signing::load) {
            problems.push(self.problem("signing_keys", e.to_string()));
        }
        if self.root.exists() && !self.root.is_dir() {
            problems.push(self.problem("root", format!("{} is not a folder", self.root.display())));
        }
        problems
    }

    /// A problem with a key that stands in the file.
    pub fn problem(&self, key: &str, what: String) -> Problem {
        Problem {
            line: self.lines.get(key).copied(),
            key: key.to_owned(),
            what,
        }
    }
}

/// Without a `base_url` the listening address must be one that others can reach.
fn check_auto(r: &mut Reader<'_>, listen: SocketAddr) {
    if listen.ip().is_unspecified() {
        let what =
            format!("give the URL at which viewers reach this appliance: it cannot be made from {listen}");
        r.problem("base_url", what);
    }
}

/// The drives' folders, each once.
fn drives(r: &mut Reader<'_>) -> Vec<String> {
    let drives = r.strings("drives").unwrap_or_default();
    let twice = (1..drives.len()).find(|i| drives[..*i].contains(&drives[*i]));
    if let Some(twice) = twice {
        r.problem("drives", format!("`{}` stands there twice", drives[twice]));
    }
    drives
}

fn join_secret(r: &mut Reader<'_>, folder: &Path) -> Option<JoinSecret> {
    let (inline, file) = (r.string("join_token"), r.string("join_token_file"));
    match (inline, file) {
        (Some(_), Some(_)) => {
            r.problem(
                "join_token_file",
                "give join_token or join_token_file, not both".to_owned(),
            );
            None
        }
        (Some(token), None) if token.trim().is_empty() => {
            r.problem(
                "join_token",
                "is empty; leave the key out once the appliance has joined".to_owned(),
            );
            None
        }
        (Some(token), None) => Some(JoinSecret::Inline(token)),
        (None, Some(file)) => Some(JoinSecret::File(folder.join(file))),
        (None, None) => None,
    }
}

/// HTTPS and HTTP/3, which have one identity: either address needs both files, and the files an address.
fn encrypted(r: &mut Reader<'_>, folder: &Path) -> Option<EncryptedConfig> {
    let (tls, quic) = (r.parsed("tls_listen"), r.parsed("quic_listen"));
    let congestion: Option<Congestion> = r.parsed("quic_congestion");
    let (cert, key) = (r.strings("cert"), r.strings("key"));
    let kernel = match r.string("kernel_tls").as_deref() {
        None | Some("auto") => true,
        Some("off") => false,
        Some(other) => {
            r.problem("kernel_tls", format!("`{other}` is neither auto nor off"));
            false
        }
    };
    let given = [
        ("tls_listen", tls.is_some() || quic.is_some()),
        ("cert", cert.is_some()),
        ("key", key.is_some()),
    ];
    if given.iter().any(|(_, given)| *given) {
        for (name, _) in given.into_iter().filter(|(_, given)| !given) {
            let mend = "tls_listen, cert and key belong together: give all three or none (quic_listen does for tls_listen)";
            r.missing(name, mend);
        }
    }
    let (certs, keys) = cert.zip(key)?;
    if certs.len() != keys.len() {
        let (certs, keys) = (certs.len(), keys.len());
        r.problem(
            "key",
            format!("{certs} certificates and {keys} keys: give one key for each"),
        );
        return None;
    }
    let pair = |(cert, key)| PairFiles {
        cert: folder.join(cert),
        key: folder.join(key),
    };
    Some(EncryptedConfig {
        tls_listen: tls,
        quic: quic.map(|listen| QuicConfig {
            listen,
            congestion: congestion.unwrap_or_default(),
        }),
        pairs: certs.into_iter().zip(keys).map(pair).collect(),
        tickets: None,
        kernel,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str =
        "id = \"oca-1\"\ncontrol = \"http://127.0.0.1:1/\"\nlisten = \"127.0.0.2:0\"\nroot = \"data\"\n";

    fn parse(text: &str) -> Result<Config, Vec<String>> {
        let shown = |p: Vec<Problem>| p.iter().map(|p| p.in_file(Path::new("a.toml"))).collect();
        Config::parse(text, Path::new("/etc/nightfill")).map_err(shown)
    }

    #[test]
    fn four_keys_are_enough() {
        let c = parse(LEAST).unwrap();
        assert_eq!(c.control, "http://127.0.0.1:1");
        assert_eq!(c.root, Path::new("/etc/nightfill/data"));
        assert_eq!(
            (c.profile.as_str(), c.fill_parallel, c.min_free),
            ("laptop", 4, MIN_FREE)
        );
        assert!(c.base_url.is_none() && c.encrypted.is_none() && c.join_token.is_none());
        assert!(c.probe().is_empty());
    }

    #[test]
    fn every_key_is_read() {
        let text = format!(
            "{LEAST}join_token_file = \"/run/token\"\nbase_url = \"https://oca-1.example\"\ntls_listen = \"[::1]:443\"\n\
             quic_listen = \"[::1]:443\"\nquic_congestion = \"bbr\"\n\
             cert = \"c.pem\"\nkey = \"/k.pem\"\nadmin_listen = \"127.0.0.1:0\"\nprofile = \"small-10g\"\n\
             storage = \"1 TB\"\negress = \"2 Gbps\"\nfill_rate = \"300 Mbps\"\nworkers = 3\nfill_parallel = 8\n\
             kernel_tls = \"off\"\naccess_log = \"access.json\"\nreport_seconds = 2\nmin_free = 5\n\
             drives = [\"a\", \"/b\"]\ndrive_stall_seconds = 3\nsigning_keys = \"keys.json\"\nsigning_attribute = \"sig\"\n\
             signing_audience = \"us\"\nsigning_paths = [\"/t/a/\", \"/t/b/\"]\nsigning_fill_issuer = \"fleet\"\n"
        );
        let c = parse(&text).unwrap();
        assert_eq!(c.join_token, Some(JoinSecret::File("/run/token".into())));
        assert_eq!(c.base_url.as_deref(), Some("https://oca-1.example"));
        let encrypted = c.encrypted.clone().unwrap();
        let pair = PairFiles {
            cert: "/etc/nightfill/c.pem".into(),
            key: "/k.pem".into(),
        };
        assert!(encrypted.pairs == [pair] && !encrypted.kernel);
        let quic = encrypted.quic.unwrap();
        assert_eq!((quic.listen.port(), quic.congestion), (443, Congestion::Bbr));
        assert_eq!(
            (c.storage, c.egress),
            (Some(Bytes(1_000_000_000_000)), Some(BitsPerSecond(2_000_000_000)))
        );
        assert_eq!(
            (c.workers, c.fill_parallel, c.report_seconds),
            (Some(3), 8, Some(2))
        );
        assert_eq!(
            (c.access_log.as_str(), c.min_free),
            ("/etc/nightfill/access.json", Bytes(5))
        );
        assert_eq!(c.drives, [Path::new("/etc/nightfill/a"), Path::new("/b")]);
        assert_eq!(c.drive_stall, Duration::from_secs(3));
        let signing = c.signing.clone().unwrap();
        assert_eq!(signing.keys, Path::new("/etc/nightfill/keys.json"));
        assert_eq!(signing.paths, ["/t/a/", "/t/b/"]);
        let names = (signing.attribute.as_str(), signing.audience, signing.fill_issuer);
        assert_eq!(names, ("sig", Some("us".to_owned()), Some("fleet".to_owned())));
        let wanted = ["/run/token", "c.pem", "/k.pem", "keys.json"];
        let problems = c.probe();
        assert_eq!(problems.len(), wanted.len());
        for (problem, path) in problems.iter().zip(wanted) {
            assert!(problem.line.is_some() && problem.what.contains(path), "{problem}");
        }
    }

    #[test]
    fn all_problems_are_named_at_once_with_line_key_and_mend() {
        let text = "id = \"a b\"\ncontrol = \"ftp://x\"\nlisten = \"0.0.0.0:80\"\nworkers = 0\nstorage = \"1 gb\"\n\
                    fil_rate = 1\nmin_free = true\ndrives = [\"a\", \"a\"]\ncert = \"c.pem\"\njoin_token = \"\"\n";
        let problems = parse(text).unwrap_err();
        let expected = [
            "a.toml:1: id: `a b` is not an appliance id",
            "a.toml:2: control: `ftp://x` is not",
            "a.toml:4: workers: 0 is not from 1 to 1024",
            "a.toml:5: storage: `1 gb` is not a size such as",
            "a.toml:6: fil_rate: there is no such key; did you mean fill_rate?",
            "a.toml:7: min_free: boolean is not a size",
            "a.toml:8: drives: `a` stands there twice",
            "a.toml:10: join_token: is empty",
            "a.toml: base_url: give the URL",
            "a.toml: key: tls_listen, cert and key belong together",
            "a.toml: root: give the folder",
            "a.toml: tls_listen: tls_listen, cert and key belong together",
        ];
        for e in expected {
            assert!(
                problems.iter().any(|p| p.starts_with(e)),
                "{e} is not in {problems:#?}"
            );
        }
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    }

    #[test]
    fn certificates_may_be_several_each_with_its_key() {
        let tls = "tls_listen = \"[::1]:443\"\ncert = [\"a.pem\", \"b.pem\"]\n";
        let c = parse(&format!("{LEAST}{tls}key = [\"a.key\", \"b.key\"]\n")).unwrap();
        assert_eq!(c.encrypted.unwrap().pairs.len(), 2);
        for (key, problem) in [
            ("\"a.key\"", "a.toml:7: key: 2 certificates and 1 keys"),
            ("[]", "a.toml:7: key: is not a text in quotes or a list of such"),
        ] {
            let problems = parse(&format!("{LEAST}{tls}key = {key}\n")).unwrap_err();
            assert!(problems[0].starts_with(problem), "{problems:?}");
        }
    }

    #[test]
    fn signing_is_checked_as_a_whole() {
        let c = parse(&format!("{LEAST}signing_keys = \"k.json\"\n")).unwrap();
        let signing = c.signing.unwrap();
        assert_eq!(
            (signing.attribute.as_str(), signing.paths),
            ("URISigningPackage", vec!["/".to_owned()])
        );
        for (keys, problem) in [
            (
                "signing_audience = \"x\"",
                "a.toml:5: signing_audience: goes with signing_keys",
            ),
            (
                "signing_keys = \"k\"\nsigning_paths = \"t\"",
                "a.toml:6: signing_paths: `t` does not begin",
            ),
            (
                "signing_keys = \"k\"\nsigning_attribute = \"a=\"",
                "a.toml:6: signing_attribute: `a=` cannot name",
            ),
        ] {
            let problems = parse(&format!("{LEAST}{keys}\n")).unwrap_err();
            assert!(problems[0].starts_with(problem), "{problems:?}");
        }
    }

    #[test]
    fn what_is_no_toml_is_named_by_line() {
        let problems = parse("id = \"x\"\nlisten = \n").unwrap_err();
        assert!(problems[0].starts_with("a.toml:2: "), "{problems:?}");
    }

    #[test]
    fn an_unknown_profile_names_those_that_are_built_in() {
        let c = parse(&format!("{LEAST}profile = \"big\"\n")).unwrap();
        let problem = c.probe().remove(0);
        assert_eq!(problem.line, Some(5));
        assert!(problem.what.contains("laptop"), "{problem}");
    }
}
