//! A whole CDN on this machine, on loopback addresses of its own: origin, control plane, steering and appliances as real
//! processes. The demo shows it to newcomers, the end-to-end tests pull its cables.
//!
//! Every appliance has an address of its own on one port, as in production: players tell appliances apart by host
//! (dash.js drops the port of a cloned pathway).

pub mod program;

use crate::client::Client;
use anyhow::{Context, Result, bail, ensure};
use cdn_types::{
    BitsPerSecond, Bytes, FillWindow, OcaId, PlanNumber, RegionId, SiteId,
    api::v1::{ApplianceState, ApplianceView, FillState, NewJoinToken, NewToken, Role, Site},
};
use program::{Program, binary};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Port of the appliances and the origin.
const MEDIA_PORT: u16 = 8080;
/// Port of the control plane.
const CONTROL_PORT: u16 = 8000;
/// Port of the steering service.
const STEERING_PORT: u16 = 8001;
/// In whose name steering signs addresses.
pub const STUDIO: &str = "studio";
/// In whose name appliances sign their fetches.
pub const FLEET: &str = "fleet";
/// Last byte of the origin's address; appliances have 2 and up.
const ORIGIN_HOST: u8 = 250;

/// Where the CDN's programs listen: `127.a.b.1` and so on.
#[derive(Debug, Clone, Copy)]
pub struct Net(u8, u8);

impl Net {
    /// `127.0.0.x`: the demo's, so that its addresses are easy to remember.
    pub const DEMO: Net = Net(0, 0);

    /// Loopback addresses that no other CDN of this process or of another running one has.
    pub fn unique() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = std::process::id().wrapping_mul(16) + NEXT.fetch_add(1, Ordering::Relaxed) % 16;
        let n = n % (200 * 250);
        Self(1 + (n / 250) as u8, (n % 250) as u8)
    }

    fn host(self, last: u8) -> String {
        format!("127.{}.{}.{last}", self.0, self.1)
    }
}

/// One appliance of the layout.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its id.
    pub id: OcaId,
    /// Its site.
    pub site: SiteId,
    /// Bytes that it may hold.
    pub storage: Bytes,
    /// Cap of its fill.
    pub fill_rate: BitsPerSecond,
    /// Its data folder; below the CDN's own if absent.
    pub root: Option<PathBuf>,
    /// More of its configuration (TOML), such as `[bgp]`.
    pub more: String,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Addresses.
    pub net: Net,
    /// Folder for everything that it writes.
    pub dir: PathBuf,
    /// Folder of the players' scripts, for the player page.
    pub players: Option<PathBuf>,
    /// Seconds between reports: short, so that a demo moves while one looks.
    pub report_seconds: u64,
    /// Seconds within which players follow steering.
    pub steering_ttl: u64,
    /// More options of the steering service.
    pub steering_more: Vec<String>,
    /// File of signing keys with the issuers [`STUDIO`] and [`FLEET`]: addresses are then signed by the one and fetches by
    /// the other, and appliances and origin ask for tokens.
    pub signing: Option<PathBuf>,
    /// Sites.
    pub sites: Vec<Site>,
    /// Appliances.
    pub places: Vec<Place>,
}

impl Layout {
    /// Two sites, three appliances: `north` has this machine's own network and two appliances, `south` has
    /// 10.2.0.0/16 and one.
    pub fn two_sites(net: Net, dir: &Path) -> Result<Self> {
        let site = |id: &str, prefixes: &[&str]| -> Result<Site> {
            Ok(Site {
                id: SiteId::new(id)?,
                region: RegionId::new(format!("{id}-region"))?,
                prefixes: prefixes.iter().map(|p| p.parse()).collect::<Result<_, _>>()?,
                window: FillWindow::always(),
            })
        };
        let place = |id: &str, site: &str| -> Result<Place> {
            Ok(Place {
                id: OcaId::new(id)?,
                site: SiteId::new(site)?,
                storage: Bytes(2_000_000_000),
                fill_rate: BitsPerSecond(1_000_000_000),
                root: None,
                more: String::new(),
            })
        };
        Ok(Self {
            net,
            dir: dir.to_path_buf(),
            players: None,
            report_seconds: 1,
            steering_ttl: 5,
            steering_more: Vec::new(),
            signing: None,
            sites: vec![
                site("north", &["127.0.0.0/8", "10.1.0.0/16"])?,
                site("south", &["10.2.0.0/16"])?,
            ],
            places: vec![
                place("north-1", "north")?,
                place("north-2", "north")?,
                place("south-1", "south")?,
            ],
        })
    }

    /// Folder of steering's decision log, for `nightfill steer`.
    pub fn decisions(&self) -> PathBuf {
        self.dir.join("decisions")
    }
}

/// The running CDN. Dropping it kills every program that it started.
pub struct LocalCdn {
    /// What was started.
    pub layout: Layout,
    /// The origin: `oca-server serve` over the origin store.
    pub origin: Program,
    /// The control plane.
    pub control: Program,
    /// The steering service.
    pub steering: Program,
    /// Appliances by id; one that was stopped is absent.
    pub appliances: BTreeMap<OcaId, Program>,
    /// The control plane's API, with the admin token.
    pub client: Client,
    admin_token: String,
}

impl LocalCdn {
    /// Starts everything and returns when every appliance has joined and reported.
    pub async fn start(layout: Layout) -> Result<Self> {
        let dir = &layout.dir;
        let logs = dir.join("log");
        let store = dir.join("control/origin");
        fs::create_dir_all(&store).with_context(|| format!("cannot make {}", store.display()))?;

        let origin_at = format!("{}:{MEDIA_PORT}", layout.net.host(ORIGIN_HOST));
        let store_text = store.display().to_string();
        let mut args = vec![
            "serve",
            "--root",
            &store_text,
            "--listen",
            &origin_at,
            "--workers",
            "1",
        ];
        let keys = layout.signing.as_ref().map(|keys| keys.display().to_string());
        if let Some(keys) = &keys {
            args.extend(["--signing-keys", keys, "--signing-path", "/t/"]);
        }
        let origin = Program::start("origin", &binary("oca-server")?, &args, &logs)?;

        let control = start_control(&layout, &origin.url()?)?;
        let admin_token = fs::read_to_string(dir.join("control/admin.token"))?
            .trim()
            .to_owned();
        let client = Client::new(&control.url()?, Some(admin_token.clone()))?;
        for site in &layout.sites {
            client.put_site(site).await?;
        }
        let steering = start_steering(&layout, &client, &control.url()?).await?;
        let mut cdn = Self {
            layout,
            origin,
            control,
            steering,
            appliances: BTreeMap::new(),
            client,
            admin_token,
        };
        for place in cdn.layout.places.clone() {
            cdn.join_appliance(&place).await?;
        }
        cdn.until("every appliance serves", Duration::from_secs(30), |all| {
            all.iter().all(|a| a.state == ApplianceState::Serving)
        })
        .await?;
        Ok(cdn)
    }

    async fn join_appliance(&mut self, place: &Place) -> Result<()> {
        let wish = NewJoinToken {
            appliance: place.id.clone(),
            site: place.site.clone(),
            valid_seconds: None,
        };
        let token = self.client.new_join_token(&wish).await?.token;
        let config = self.appliance_config(place, &token)?;
        fs::write(self.config_path(&place.id), config)?;
        self.start_appliance(&place.id)
    }

    /// Starts an appliance (again) from its configuration file.
    pub fn start_appliance(&mut self, id: &OcaId) -> Result<()> {
        let config = self.config_path(id).display().to_string();
        let args = ["run", "--config", &config];
        let program = Program::start(
            id.as_str(),
            &binary("oca-server")?,
            &args,
            &self.layout.dir.join("log"),
        )?;
        self.appliances.insert(id.clone(), program);
        Ok(())
    }

    /// Starts the control plane again after it was stopped.
    pub fn restart_control(&mut self) -> Result<()> {
        self.control = start_control(&self.layout, &self.origin.url()?)?;
        Ok(())
    }

    fn config_path(&self, id: &OcaId) -> PathBuf {
        self.layout.dir.join(format!("{id}.toml"))
    }

    /// Data folder of an appliance.
    pub fn appliance_root(&self, id: &OcaId) -> PathBuf {
        let place = self.layout.places.iter().find(|p| &p.id == id);
        place
            .and_then(|p| p.root.clone())
            .unwrap_or_else(|| self.layout.dir.join(id.as_str()))
    }

    fn appliance_config(&self, place: &Place, token: &str) -> Result<String> {
        let n = self
            .layout
            .places
            .iter()
            .position(|p| p.id == place.id)
            .context("place of the layout")?;
        let host = self.layout.net.host(u8::try_from(n + 2)?);
        let root = self.appliance_root(&place.id);
        fs::create_dir_all(&root)?;
        let signing = self.layout.signing.as_ref().map(|keys| {
            let keys = keys.display();
            format!("signing_keys = \"{keys}\"\nsigning_paths = \"/t/\"\nsigning_fill_issuer = \"{FLEET}\"\n")
        });
        Ok(format!(
            "# One appliance of the local CDN; `oca-server check --config` explains every key.\n\
             id = \"{id}\"\ncontrol = \"{control}\"\njoin_token = \"{token}\"\nlisten = \"{host}:{MEDIA_PORT}\"\n\
             admin_listen = \"{host}:0\"\nbase_url = \"http://{host}:{MEDIA_PORT}\"\nroot = \"{root}\"\n\
             profile = \"laptop\"\nstorage = \"{storage}\"\nfill_rate = \"{fill}\"\nworkers = 1\nmin_free = 0\n{signing}{more}",
            more = place.more,
            signing = signing.unwrap_or_default(),
            id = place.id,
            control = self.control.url()?,
            root = root.display(),
            storage = place.storage.0,
            fill = place.fill_rate.0,
        ))
    }

    /// Polls the control plane until `holds` is true of its appliances.
    pub async fn until(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&[ApplianceView]) -> bool,
    ) -> Result<Vec<ApplianceView>> {
        let end = Instant::now() + limit;
        loop {
            let appliances = self.client.appliances().await?;
            if holds(&appliances) {
                return Ok(appliances);
            }
            if Instant::now() > end {
                let told: Vec<_> = appliances
                    .iter()
                    .map(|a| format!("{} {:?} fill {:?} {:?}", a.id, a.state, a.fill, a.conditions))
                    .collect();
                bail!("not within {limit:?}: {what}\n{}", told.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until every running appliance holds everything that plan `number` gives it.
    pub async fn until_filled(&self, number: PlanNumber, limit: Duration) -> Result<Vec<ApplianceView>> {
        let running: Vec<_> = self.appliances.keys().cloned().collect();
        self.until(&format!("plan {number} is filled"), limit, |all| {
            all.iter()
                .filter(|a| running.contains(&a.id))
                .all(|a| a.plan == Some(number) && a.fill.state == FillState::Done)
        })
        .await
    }

    /// A token of a role, for a program that needs one.
    pub async fn token(&self, role: Role, name: &str) -> Result<String> {
        Ok(self
            .client
            .new_token(&NewToken {
                role,
                name: name.to_owned(),
            })
            .await?
            .token)
    }

    /// Runs one of Nightfill's programs to its end and returns what it printed.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let out = std::process::Command::new(binary(program)?)
            .args(args)
            .env("NIGHTFILL_TOKEN", &self.admin_token)
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        ensure!(
            out.status.success(),
            "{program} {} failed ({}):\n{}",
            args.join(" "),
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// Publishes packed titles.
    pub fn publish(&self, titles: &[PathBuf]) -> Result<()> {
        let control = self.control.url()?;
        let mut args = vec!["publish".to_owned()];
        args.extend(titles.iter().map(|t| t.display().to_string()));
        args.extend(["--control".to_owned(), control]);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        self.run("nightfill", &args).map(drop)
    }

    /// Plans for `date`, publishes and activates; the number of the plan.
    pub async fn plan(&self, date: &str) -> Result<PlanNumber> {
        let token = self.token(Role::Planner, "cron").await?;
        let control = self.control.url()?;
        let args = [
            "run",
            "--control",
            &control,
            "--token",
            &token,
            "--date",
            date,
            "--activate",
        ];
        let reports = self.layout.dir.join("plan").display().to_string();
        let lock = self.layout.dir.join("planner.lock").display().to_string();
        let files = ["--out", &reports, "--lock", &lock];
        self.run("fill-planner", &[&args[..], &files].concat())?;
        let plans = self.client.plans().await?;
        plans
            .iter()
            .find(|p| p.active)
            .map(|p| p.number)
            .context("the planner activated no plan")
    }

    /// The player page for a title.
    pub fn player_page(&self, title: &str, player: &str) -> Result<String> {
        Ok(format!(
            "{}/player?title={title}&player={player}&autoplay=1",
            self.control.url()?
        ))
    }

    /// Ends every program by SIGTERM, viewer-facing ones first.
    pub async fn stop(mut self) -> Result<()> {
        let mut first_error = Ok(());
        let appliances = std::mem::take(&mut self.appliances).into_values();
        for mut program in appliances.chain([self.steering, self.control, self.origin]) {
            let ended = program.stop().await.and_then(|status| {
                ensure!(
                    status.success(),
                    "{} ended with {status}:\n{}",
                    program.name(),
                    program.last_errors()
                );
                Ok(())
            });
            if first_error.is_ok() {
                first_error = ended;
            }
        }
        first_error
    }
}

fn start_control(layout: &Layout, origin_url: &str) -> Result<Program> {
    let data = layout.dir.join("control").display().to_string();
    let listen = format!("{}:{CONTROL_PORT}", layout.net.host(1));
    let steering = format!("http://{}:{STEERING_PORT}", layout.net.host(1));
    let seconds = layout.report_seconds.to_string();
    let mut args: Vec<String> = [
        "serve",
        "--data",
        &data,
        "--listen",
        &listen,
        "--origin-url",
        origin_url,
    ]
    .map(String::from)
    .to_vec();
    args.extend(["--steering-url", &steering, "--report-seconds", &seconds].map(String::from));
    if let Some(players) = &layout.players {
        args.extend(["--players".to_owned(), players.display().to_string()]);
    }
    Program::start(
        "control-plane",
        &binary("control-plane")?,
        &args,
        &layout.dir.join("log"),
    )
}

async fn start_steering(layout: &Layout, client: &Client, control_url: &str) -> Result<Program> {
    let token = client
        .new_token(&NewToken {
            role: Role::Service,
            name: "steering".to_owned(),
        })
        .await?
        .token;
    let token_file = layout.dir.join("steering.token");
    fs::write(&token_file, token)?;
    let listen = format!("{}:{STEERING_PORT}", layout.net.host(1));
    let token_file = token_file.display().to_string();
    let ttl = layout.steering_ttl.to_string();
    let decisions = layout.decisions().display().to_string();
    let mut args = vec![
        "serve",
        "--control",
        control_url,
        "--listen",
        &listen,
        "--token",
        &token_file,
        "--ttl",
        &ttl,
        "--decision-log",
        &decisions,
    ];
    let keys = layout.signing.as_ref().map(|keys| keys.display().to_string());
    if let Some(keys) = &keys {
        args.extend(["--signing-keys", keys, "--signing-issuer", STUDIO]);
    }
    args.extend(layout.steering_more.iter().map(String::as_str));
    Program::start(
        "steering",
        &binary("steering-service")?,
        &args,
        &layout.dir.join("log"),
    )
}
