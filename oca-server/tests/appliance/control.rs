//! A control plane of a few lines: it says what the test tells it to say and remembers what it was told.

use crate::world::Media;
use cdn_types::{
    BLOCK_SIZE, FillWindow, ObjectDigest,
    api::v1::{
        JoinAnswer, ObjectInfo, PlanPart, Report, ReportAnswer, Site,
        routes::{RouteAttributes, RouteBatch, RouteBatchAnswer},
        viewers::{ViewerBatch, ViewerBatchAnswer},
    },
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// Longest wait for a report that shows what a test waits for.
const PATIENCE: Duration = Duration::from_secs(40);
/// The one-time token that it takes.
pub const JOIN_TOKEN: &str = "one-time";
const BEARER: &str = "Bearer appliance-secret";

#[derive(Default)]
struct State {
    away: bool,
    drain: bool,
    joins: usize,
    plan: Option<PlanPart>,
    plan_tag: u64,
    objects: HashMap<String, ObjectInfo>,
    reports: Vec<Report>,
    inventory: Option<(String, u64)>,
    held: BTreeSet<ObjectDigest>,
    routes: BTreeMap<String, RouteAttributes>,
    /// Of the table before the one that is being told.
    unconfirmed: BTreeSet<String>,
    batches: Vec<RouteBatch>,
    next_batch: u64,
    /// Batches whose answers are lost.
    lose_answers: usize,
    viewers: Vec<ViewerBatch>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub struct FakeControl {
    shared: Arc<Shared>,
    pub url: String,
}

impl FakeControl {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let for_all = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = for_all.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { shared, url }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().unwrap());
        self.shared.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Has block digests of these from now on.
    pub fn know(&self, media: &Media) {
        self.change(|s| {
            for name in media.names() {
                let info = ObjectInfo {
                    digest: media.digest(name),
                    size: cdn_types::Bytes(media.bytes(name).len() as u64),
                    blocks: media
                        .bytes(name)
                        .chunks(BLOCK_SIZE as usize)
                        .map(ObjectDigest::of)
                        .collect(),
                    media_type: media.media_type(name).into(),
                    path: media.path(name),
                    title: cdn_types::TitleId::new("t").unwrap(),
                };
                s.objects.insert(info.digest.to_string(), info);
            }
        });
    }

    pub fn publish(&self, plan: PlanPart) {
        self.change(|s| {
            s.plan = Some(plan);
            s.plan_tag += 1;
        });
    }

    /// Away: every connection is closed without an answer.
    pub fn set_away(&self, away: bool) {
        self.change(|s| s.away = away);
    }

    pub fn set_drain(&self, drain: bool) {
        self.change(|s| s.drain = drain);
    }

    /// What the appliance hears, as far as it has told.
    pub fn routes(&self) -> BTreeMap<String, RouteAttributes> {
        self.state().routes.clone()
    }

    /// Every batch that came, repeated ones too.
    pub fn batches(&self) -> Vec<RouteBatch> {
        self.state().batches.clone()
    }

    /// Every batch of what it saw of viewers, repeated ones too.
    pub fn viewers(&self) -> Vec<ViewerBatch> {
        self.state().viewers.clone()
    }

    /// Takes in the next `count` batches without an answer.
    pub fn lose_answers(&self, count: usize) {
        self.change(|s| s.lose_answers = count);
    }

    /// Forgets all routes, as when it has restarted.
    pub fn forget_routes(&self) {
        self.change(|s| {
            s.routes.clear();
            s.next_batch = 0;
        });
    }

    pub fn joins(&self) -> usize {
        self.state().joins
    }

    pub fn boots(&self) -> usize {
        self.state()
            .reports
            .iter()
            .map(|r| &r.boot)
            .collect::<BTreeSet<_>>()
            .len()
    }

    pub fn inventory(&self) -> BTreeSet<ObjectDigest> {
        self.state().held.clone()
    }

    pub fn last_report(&self) -> Report {
        self.state().reports.last().expect("it has reported").clone()
    }

    /// Waits for a report that shows it, beginning with the newest.
    pub fn report_where(&self, what: &str, shows: impl Fn(&Report) -> bool) -> Report {
        let end = Instant::now() + PATIENCE;
        let mut seen = self.state().reports.len().saturating_sub(1);
        loop {
            let reports = self.state().reports[seen..].to_vec();
            if let Some(report) = reports.iter().find(|r| shows(r)) {
                return report.clone();
            }
            seen += reports.len();
            let state = self.state();
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no report shows that {what}; the last: {:#?}",
                state.reports.last()
            );
            if state.reports.len() == seen {
                drop(self.shared.changed.wait_timeout(state, left).unwrap());
            }
        }
    }
}

struct Request {
    method: String,
    path: String,
    bearer: Option<String>,
    tag: Option<String>,
    body: Vec<u8>,
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let (mut text, mut piece) = (Vec::new(), [0; 65_536]);
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut headers);
        if let Ok(httparse::Status::Complete(at)) = head.parse(&text) {
            let find = |name: &str| {
                let header = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
                Some(String::from_utf8(header.value.to_vec()).unwrap())
            };
            let length: usize = find("content-length").map_or(0, |l| l.parse().unwrap());
            if text.len() >= at + length {
                return Some(Request {
                    method: head.method?.to_owned(),
                    path: head.path?.to_owned(),
                    bearer: find("authorization"),
                    tag: find("if-none-match"),
                    body: text[at..at + length].to_vec(),
                });
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(n) => text.extend_from_slice(&piece[..n]),
        }
    }
}

fn answer(mut stream: TcpStream, status: &str, tag: Option<u64>, body: &impl Serialize) {
    let body = serde_json::to_vec(body).unwrap();
    let tag = tag.map_or_else(String::new, |t| format!("etag: \"{t}\"\r\n"));
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{tag}content-length: {length}\r\n\r\n");
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body)); // the appliance may be dead
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let Some(request) = read(&mut stream) else { return };
        if self.state.lock().unwrap().away {
            return;
        }
        let path = request.path.as_str();
        let problem = |detail: &str| serde_json::json!({"title": "no", "detail": detail});
        let authorized = request.bearer.as_deref() == Some(BEARER);
        match request.method.as_str() {
            "POST" if path == "/v1/join" => self.join(stream, &request.body),
            "POST" if path == "/v1/appliances/oca-1/report" && authorized => {
                self.report(stream, &request.body);
            }
            "POST" if path == "/v1/appliances/oca-1/routes" && authorized => {
                self.routes(stream, &request.body);
            }
            "POST" if path == "/v1/appliances/oca-1/viewers" && authorized => {
                self.viewers(stream, &request.body);
            }
            "GET" if path.starts_with("/v1/appliances/oca-1/plan?wait=") => {
                self.plan(stream, request.tag.as_deref());
            }
            "GET" if path.starts_with("/v1/objects/") => {
                let info = self
                    .state
                    .lock()
                    .unwrap()
                    .objects
                    .get(&path["/v1/objects/".len()..])
                    .cloned();
                match info {
                    Some(info) => answer(stream, "200 OK", None, &info),
                    None => answer(stream, "404 Not Found", None, &problem("no such object")),
                }
            }
            _ => answer(stream, "401 Unauthorized", None, &problem("not for you")),
        }
    }

    fn join(&self, stream: TcpStream, body: &[u8]) {
        let request: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(
            (&request["token"], &request["appliance"]),
            (&JOIN_TOKEN.into(), &"oca-1".into())
        );
        self.state.lock().unwrap().joins += 1;
        let joined = JoinAnswer {
            token: BEARER["Bearer ".len()..].into(),
            site: Site {
                id: cdn_types::SiteId::new("s").unwrap(),
                region: cdn_types::RegionId::new("r").unwrap(),
                prefixes: vec![],
                window: FillWindow::always(),
            },
        };
        answer(stream, "200 OK", None, &joined);
    }

    fn report(&self, stream: TcpStream, body: &[u8]) {
        let report: Report = serde_json::from_slice(body).unwrap();
        let mut state = self.state.lock().unwrap();
        let update = &report.inventory;
        let have = state.inventory.clone();
        let fits = match update.base {
            None => {
                state.held.clear();
                true
            }
            Some(base) => have == Some((report.boot.clone(), base)),
        };
        if fits {
            state.held.extend(update.added.iter().copied());
            update.removed.iter().for_each(|d| _ = state.held.remove(d));
            state.inventory = Some((report.boot.clone(), update.generation));
        }
        let said = ReportAnswer {
            next_report_seconds: 1,
            resync_inventory: !fits,
            drain: state.drain,
        };
        state.reports.push(report);
        drop(state);
        self.changed.notify_all();
        answer(stream, "200 OK", None, &said);
    }

    fn routes(&self, stream: TcpStream, body: &[u8]) {
        let batch: RouteBatch = serde_json::from_slice(body).unwrap();
        let mut state = self.state.lock().unwrap();
        if batch.number == state.next_batch || batch.reset {
            state.next_batch = batch.number + 1;
            if batch.reset {
                state.unconfirmed = state.routes.keys().cloned().collect();
            }
            for prefix in batch.announced.iter().flat_map(|g| &g.prefixes) {
                state.unconfirmed.remove(&prefix.to_string());
            }
            for group in &batch.announced {
                let routes = group
                    .prefixes
                    .iter()
                    .map(|p| (p.to_string(), group.attributes.clone()));
                state.routes.extend(routes);
            }
            for prefix in &batch.withdrawn {
                state.routes.remove(&prefix.to_string());
            }
        }
        if batch.complete {
            for prefix in std::mem::take(&mut state.unconfirmed) {
                state.routes.remove(&prefix);
            }
        }
        let next = state.next_batch;
        state.batches.push(batch);
        let lost = state.lose_answers > 0;
        state.lose_answers = state.lose_answers.saturating_sub(1);
        drop(state);
        self.changed.notify_all();
        if !lost {
            answer(stream, "200 OK", None, &RouteBatchAnswer { next });
        }
    }

    fn viewers(&self, stream: TcpStream, body: &[u8]) {
        let batch = serde_json::from_slice(body).unwrap();
        let mut state = self.state.lock().unwrap();
        state.viewers.push(batch);
        let lost = state.lose_answers > 0;
        state.lose_answers = state.lose_answers.saturating_sub(1);
        drop(state);
        if !lost {
            answer(stream, "200 OK", None, &ViewerBatchAnswer { taken: true });
        }
    }

    fn plan(&self, stream: TcpStream, tag: Option<&str>) {
        let state = self.state.lock().unwrap();
        let old =
            |s: &mut State| !s.away && (s.plan.is_none() || tag == Some(&format!("\"{}\"", s.plan_tag)));
        let (state, timeout) = self
            .changed
            .wait_timeout_while(state, Duration::from_secs(20), old)
            .unwrap();
        let (away, plan, tag) = (state.away, state.plan.clone(), state.plan_tag);
        drop(state);
        match plan {
            _ if away => {}
            None => answer(stream, "404 Not Found", None, &()),
            Some(_) if timeout.timed_out() => answer(stream, "304 Not Modified", Some(tag), &()),
            Some(plan) => answer(stream, "200 OK", Some(tag), &plan),
        }
    }
}
