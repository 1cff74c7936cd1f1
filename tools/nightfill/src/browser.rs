//! A real browser, driven by the W3C WebDriver protocol: Debian's Chromium and its chromedriver. The demo and the
//! end-to-end tests look at the same pages as a viewer and an operator do.

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Chromium without a screen and without calls to its maker.
const CHROMIUM_FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
];

/// One browser window. Dropping it ends the browser.
pub struct Browser {
    driver: Child,
    session: String,
    http: reqwest::Client,
    profile: tempfile::TempDir,
}

impl Browser {
    /// Starts chromedriver on a free port and a Chromium with a new profile.
    pub async fn start() -> Result<Self> {
        let mut driver = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "chromedriver", "--port=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start chromedriver: install Debian's chromium and chromium-driver")?;
        let port = match driver_port(&mut driver) {
            Ok(port) => port,
            Err(e) => {
                let _ = driver.kill();
                return Err(e);
            }
        };
        let profile = tempfile::tempdir()?;
        let mut args: Vec<String> = CHROMIUM_FLAGS.iter().map(ToString::to_string).collect();
        args.push(format!("--user-data-dir={}", profile.path().display()));
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": args},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .build()?;
        let base = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self {
            driver,
            session: base.clone(),
            http,
            profile,
        };
        let answer = browser
            .call(&base, &wanted)
            .await
            .context("chromedriver could not start Chromium")?;
        let id = answer["sessionId"]
            .as_str()
            .context("chromedriver gave no session")?;
        browser.session = format!("{base}/{id}");
        Ok(browser)
    }

    async fn call(&self, url: &str, body: &Value) -> Result<Value> {
        let answer: Value = self.http.post(url).json(body).send().await?.json().await?;
        match answer["value"]["error"].as_str() {
            Some(kind) => bail!(
                "{kind}: {}",
                answer["value"]["message"].as_str().unwrap_or_default()
            ),
            None => Ok(answer["value"].clone()),
        }
    }

    /// Opens a page and waits for its load event.
    pub async fn open(&self, url: &str) -> Result<()> {
        let to = format!("{}/url", self.session);
        self.call(&to, &json!({"url": url}))
            .await
            .with_context(|| format!("cannot open {url}"))?;
        Ok(())
    }

    /// Runs a function body in the page and returns what it returns.
    pub async fn run(&self, script: &str) -> Result<Value> {
        let to = format!("{}/execute/sync", self.session);
        self.call(&to, &json!({"script": script, "args": []})).await
    }

    /// Runs `script` again and again until it returns something true; an error with the page's last state after
    /// `limit`.
    pub async fn until(&self, script: &str, limit: Duration) -> Result<Value> {
        let end = Instant::now() + limit;
        loop {
            let value = self.run(script).await?;
            let yes = !matches!(&value, Value::Null | Value::Bool(false))
                && value != json!(0)
                && value != json!("");
            if yes {
                return Ok(value);
            }
            if Instant::now() > end {
                let state = self
                    .run("return JSON.stringify(window.nightfill || document.title)")
                    .await?;
                bail!(
                    "`{script}` was not true within {limit:?}; page: {state}; console: {}",
                    self.console().await?
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What the page wrote to its console since the last call.
    pub async fn console(&self) -> Result<String> {
        let to = format!("{}/se/log", self.session);
        let lines = self.call(&to, &json!({"type": "browser"})).await?;
        let lines = lines.as_array().cloned().unwrap_or_default();
        Ok(lines
            .iter()
            .filter_map(|l| l["message"].as_str())
            .collect::<Vec<_>>()
            .join("\n"))
    }

    /// Sets the window to `width` × `height` CSS pixels, as on a phone or a desk.
    pub async fn resize(&self, width: u32, height: u32) -> Result<()> {
        let params = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", params)
            .await?;
        Ok(())
    }

    /// Asks the page for its light or dark look (`prefers-color-scheme`).
    pub async fn color_scheme(&self, scheme: &str) -> Result<()> {
        let params = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", params).await?;
        Ok(())
    }

    async fn devtools(&self, command: &str, params: Value) -> Result<Value> {
        let to = format!("{}/goog/cdp/execute", self.session);
        self.call(&to, &json!({"cmd": command, "params": params})).await
    }

    /// Saves a PNG of the whole page.
    pub async fn screenshot(&self, file: &Path) -> Result<()> {
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.devtools("Page.captureScreenshot", params).await?;
        let text = answer["data"].as_str().context("chromedriver gave no picture")?;
        let png = base64::engine::general_purpose::STANDARD.decode(text)?;
        std::fs::write(file, png).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Ends the browser.
    pub async fn close(self) -> Result<()> {
        self.http.delete(&self.session).send().await?;
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill(); // nothing more can be done while dropping
        let _ = self.driver.wait();
        kill_users_of(self.profile.path()); // a killed driver leaves its Chromium behind
    }
}

/// Kills every process whose command line names the profile folder: it is this browser's alone.
fn kill_users_of(profile: &Path) {
    let wanted = profile.display().to_string();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(&wanted) {
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL); // it may be gone already
        }
    }
}

/// chromedriver says on its standard output which port it took.
fn driver_port(driver: &mut Child) -> Result<u16> {
    let stdout = driver.stdout.take().expect("stdout is piped");
    let mut lines = BufReader::new(stdout).lines();
    while let Some(Ok(line)) = lines.next() {
        let Some((_, after)) = line.split_once("started successfully on port ") else {
            continue;
        };
        let port = after
            .trim_end_matches('.')
            .parse()
            .with_context(|| format!("no port in `{line}`"))?;
        std::thread::spawn(move || lines.for_each(drop)); // a full pipe would stop the driver
        return Ok(port);
    }
    bail!("chromedriver ended before it told its port")
}
