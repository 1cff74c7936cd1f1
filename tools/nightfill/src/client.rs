//! A typed client of the control plane's API: one method a call of the table in [`cdn_types::api::v1`].
//!
//! Every failure becomes one sentence that says which call failed and, for what the control plane refused, its own
//! explanation (`application/problem+json`).

use cdn_types::{
    Hour, ObjectDigest, OcaId, PlanNumber, TitleId,
    api::v1::{
        ApplianceView, Catalogue, DemandRow, FleetSnapshot, Imported, JoinAnswer, JoinRequest, JoinToken,
        NewJoinToken, NewToken, ObjectInfo, OriginInfo, Overview, PlanPart, PlanSummary, Problem, Report,
        ReportAnswer, Site, SteeringReport, TitleRegistration, TitleSummary, TokenAnswer,
    },
    plan::Plan,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde::{Serialize, de::DeserializeOwned};
use std::{path::Path, time::Duration};

/// Time for a connection to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for an answer, beyond what a long poll asks for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Rows of demand history in one import: about 9 MB of JSON; the control plane takes 200,000 rows and 64 MiB.
const DEMAND_BATCH: usize = 50_000;
/// Characters of an answer that is no problem document which are shown.
const SHOWN: usize = 200;

/// Talks to one control plane.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address.
    #[error("`{0}` is not an address such as http://127.0.0.1:8000")]
    Address(String),
    /// No HTTP client could be made.
    #[error("cannot make an HTTP client: {0}")]
    Setup(reqwest::Error),
    /// Nobody answers.
    #[error("{base} does not answer: {why}. Is the control plane running there?")]
    Unreachable {
        /// The control plane's address.
        base: String,
        /// Innermost cause.
        why: String,
    },
    /// The token is missing, unknown, or of another role.
    #[error(
        "{call}: {status}: {detail}. Give a token of the right role with --token-file, --token or NIGHTFILL_TOKEN"
    )]
    Token {
        /// Method and path.
        call: String,
        /// 401 or 403.
        status: u16,
        /// What the control plane says.
        detail: String,
    },
    /// The control plane refused.
    #[error("{call}: {status}: {detail}")]
    Refused {
        /// Method and path.
        call: String,
        /// HTTP status.
        status: u16,
        /// What the control plane says.
        detail: String,
    },
    /// Something else than a control plane answers at the address.
    #[error(
        "{call}: {status}: {base} answers, but is no control plane. Give the address that `control-plane serve` listens on"
    )]
    Stranger {
        /// Method and path.
        call: String,
        /// HTTP status.
        status: u16,
        /// The address.
        base: String,
    },
    /// The answer is not what this release expects.
    #[error("{call}: the answer is not understood ({what}). Are both of the same release?")]
    Answer {
        /// Method and path.
        call: String,
        /// What was wrong.
        what: String,
    },
    /// A file with demand history cannot be read.
    #[error("{file}: {what}")]
    History {
        /// The file.
        file: String,
        /// Line and fault.
        what: String,
    },
}

/// An answer that a long poll can be continued from.
#[derive(Debug, Clone, PartialEq)]
pub struct Tagged<T> {
    /// The answer.
    pub value: T,
    /// Its `ETag`, to be given to the next poll.
    pub etag: Option<String>,
}

type Result<T> = std::result::Result<T, ClientError>;

impl Client {
    /// A client of the control plane at `base`, e.g. `http://127.0.0.1:8000`; write calls need a token.
    pub fn new(base: &str, token: Option<String>) -> Result<Self> {
        // Someone in the process may have installed it before; either is the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = Url::parse(base.trim_end_matches('/'))
            .ok()
            .filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host())
            .ok_or_else(|| ClientError::Address(base.to_owned()))?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self {
            http,
            base: address,
            token,
        })
    }

    /// Registers a packed title whose objects are in the origin store.
    pub async fn put_title(&self, title: &TitleRegistration) -> Result<TitleSummary> {
        self.send(Method::PUT, &format!("/v1/titles/{}", title.manifest.id), title)
            .await
    }
    /// Takes a title out of the catalogue and of steering.
    pub async fn remove_title(&self, id: &TitleId) -> Result<()> {
        let path = format!("/v1/titles/{id}");
        let request = self.request(Method::DELETE, &path).timeout(ANSWER_TIMEOUT);
        self.answer(request, &call(&Method::DELETE, &path))
            .await
            .map(drop)
    }
    /// All titles.
    pub async fn titles(&self) -> Result<Vec<TitleSummary>> {
        self.get("/v1/titles").await
    }
    /// One title with its manifests.
    pub async fn title(&self, id: &TitleId) -> Result<TitleRegistration> {
        self.get(&format!("/v1/titles/{id}")).await
    }
    /// Sizes and digests of one object.
    pub async fn object(&self, digest: &ObjectDigest) -> Result<ObjectInfo> {
        self.get(&format!("/v1/objects/{digest}")).await
    }
    /// Every object, as the planner wants it.
    pub async fn catalogue(&self) -> Result<Catalogue> {
        self.get("/v1/catalogue").await
    }
    /// Where the origin store is.
    pub async fn origin(&self) -> Result<OriginInfo> {
        self.get("/v1/origin").await
    }
    /// An object from the origin by its public path (`/t/…`); redirects are followed.
    pub async fn from_origin(&self, public_path: &str) -> Result<Response> {
        let path = format!("/v1/origin{public_path}");
        self.answer(self.request(Method::GET, &path), &call(&Method::GET, &path))
            .await
    }
    /// Makes or changes a site.
    pub async fn put_site(&self, site: &Site) -> Result<Site> {
        self.send(Method::PUT, &format!("/v1/sites/{}", site.id), site)
            .await
    }
    /// All sites.
    pub async fn sites(&self) -> Result<Vec<Site>> {
        self.get("/v1/sites").await
    }
    /// A one-time token with which an appliance may join.
    pub async fn new_join_token(&self, wish: &NewJoinToken) -> Result<JoinToken> {
        self.send(Method::POST, "/v1/join-tokens", wish).await
    }
    /// Joins as an appliance.
    pub async fn join(&self, request: &JoinRequest) -> Result<JoinAnswer> {
        self.send(Method::POST, "/v1/join", request).await
    }
    /// Reports as an appliance.
    pub async fn report(&self, id: &OcaId, report: &Report) -> Result<ReportAnswer> {
        self.send(Method::POST, &format!("/v1/appliances/{id}/report"), report)
            .await
    }
    /// An appliance's part of the active plan; none if nothing newer than `etag` came within `wait_seconds`.
    pub async fn plan_part(
        &self,
        id: &OcaId,
        wait_seconds: u64,
        etag: Option<&str>,
    ) -> Result<Option<Tagged<PlanPart>>> {
        self.poll(&format!("/v1/appliances/{id}/plan"), wait_seconds, etag)
            .await
    }
    /// Takes an appliance's viewers away.
    pub async fn drain(&self, id: &OcaId) -> Result<ApplianceView> {
        self.post(&format!("/v1/appliances/{id}/drain")).await
    }
    /// Gives an appliance viewers again.
    pub async fn undrain(&self, id: &OcaId) -> Result<ApplianceView> {
        self.post(&format!("/v1/appliances/{id}/undrain")).await
    }
    /// All appliances.
    pub async fn appliances(&self) -> Result<Vec<ApplianceView>> {
        self.get("/v1/appliances").await
    }
    /// Publishes a plan; it does nothing until it is activated.
    pub async fn publish_plan(&self, plan: &Plan) -> Result<PlanSummary> {
        self.send(Method::POST, "/v1/plans", plan).await
    }
    /// Has the appliances execute a plan.
    pub async fn activate_plan(&self, number: PlanNumber) -> Result<PlanSummary> {
        self.post(&format!("/v1/plans/{number}/activate")).await
    }
    /// All plans.
    pub async fn plans(&self) -> Result<Vec<PlanSummary>> {
        self.get("/v1/plans").await
    }
    /// One whole plan.
    pub async fn plan(&self, number: PlanNumber) -> Result<Plan> {
        self.get(&format!("/v1/plans/{number}")).await
    }
    /// The fleet as steering sees it; none if nothing newer than `etag` came within `wait_seconds`.
    pub async fn fleet(
        &self,
        wait_seconds: u64,
        etag: Option<&str>,
    ) -> Result<Option<Tagged<FleetSnapshot>>> {
        self.poll("/v1/fleet", wait_seconds, etag).await
    }
    /// Adds demand history.
    pub async fn import_demand(&self, rows: &[DemandRow]) -> Result<Imported> {
        self.send(Method::POST, "/v1/demand", rows).await
    }
    /// Demand history of `from` ≤ hour < `to`.
    pub async fn demand(&self, from: Hour, to: Hour) -> Result<Vec<DemandRow>> {
        self.get(&format!("/v1/demand?from={from}&to={to}")).await
    }
    /// Counts of a steering service.
    pub async fn steering_report(&self, report: &SteeringReport) -> Result<()> {
        let path = "/v1/steering/report";
        let request = self.request(Method::POST, path).json(report);
        self.answer(request, &call(&Method::POST, path)).await.map(drop)
    }
    /// What the operator page shows.
    pub async fn overview(&self) -> Result<Overview> {
        self.get("/v1/overview").await
    }
    /// A new API token.
    pub async fn new_token(&self, wish: &NewToken) -> Result<TokenAnswer> {
        self.send(Method::POST, "/v1/tokens", wish).await
    }

    /// Imports a CSV file of demand history (columns `hour,region,object,requests,bytes` in any order; lines that
    /// begin with `#` are skipped) in batches.
    pub async fn import_demand_csv(&self, file: impl AsRef<Path>) -> Result<Imported> {
        let file = file.as_ref();
        let wrong = |what: String| ClientError::History {
            file: file.display().to_string(),
            what,
        };
        let mut csv = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .trim(csv::Trim::All)
            .from_path(file)
            .map_err(|e| wrong(e.to_string()))?;
        let mut rows = csv.deserialize::<DemandRow>();
        let mut imported = Imported { rows: 0 };
        loop {
            let batch: Vec<_> = rows
                .by_ref()
                .take(DEMAND_BATCH)
                .collect::<std::result::Result<_, _>>()
                .map_err(|e| wrong(e.to_string()))?;
            if batch.is_empty() {
                return Ok(imported);
            }
            imported.rows += self.import_demand(&batch).await?.rows;
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, |r| r).await
    }
    async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::POST, path, |r| r).await
    }
    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T> {
        self.call(method, path, |r| r.json(body)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<T> {
        let call = call(&method, path);
        let request = with(self.request(method, path)).timeout(ANSWER_TIMEOUT);
        let answer = self.answer(request, &call).await?;
        read(answer, call).await
    }

    async fn poll<T: DeserializeOwned>(
        &self,
        path: &str,
        wait_seconds: u64,
        etag: Option<&str>,
    ) -> Result<Option<Tagged<T>>> {
        let path = format!("{path}?wait={wait_seconds}");
        let call = call(&Method::GET, &path);
        let mut request = self.request(Method::GET, &path);
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let timeout = ANSWER_TIMEOUT + Duration::from_secs(wait_seconds);
        let answer = self.answer(request.timeout(timeout), &call).await?;
        if answer.status() == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let etag = answer
            .headers()
            .get(header::ETAG)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned);
        Ok(Some(Tagged {
            value: read(answer, call).await?,
            etag,
        }))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let address = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        let request = self.http.request(method, address);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn answer(&self, request: RequestBuilder, call: &str) -> Result<Response> {
        let answer = request.send().await.map_err(|e| ClientError::Unreachable {
            base: self.base.as_str().trim_end_matches('/').to_owned(),
            why: innermost(&e),
        })?;
        let status = answer.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let text = answer.text().await.unwrap_or_default();
        let (call, detail) = (call.to_owned(), explanation(status, &text));
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ClientError::Token {
                call,
                status: status.as_u16(),
                detail,
            },
            // A control plane has every call of this table; what it lacks it names.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if !is_ours(&text) => {
                ClientError::Stranger {
                    call,
                    status: status.as_u16(),
                    base: self.base.as_str().trim_end_matches('/').to_owned(),
                }
            }
            _ => ClientError::Refused {
                call,
                status: status.as_u16(),
                detail,
            },
        })
    }
}

fn call(method: &Method, path: &str) -> String {
    format!("{method} {path}")
}

async fn read<T: DeserializeOwned>(answer: Response, call: String) -> Result<T> {
    let wrong = |what: String| ClientError::Answer {
        call: call.clone(),
        what,
    };
    let bytes = answer.bytes().await.map_err(|e| wrong(innermost(&e)))?;
    serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))
}

/// The last cause in a chain of errors says what happened; those before only say where.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Whether a 404 or 405 is a control plane's "there is no such thing", not any server's "there is no such page".
fn is_ours(text: &str) -> bool {
    serde_json::from_str::<Problem>(text).is_ok_and(|p| {
        let ours = ["not_found", "unknown_route", "wrong_method"];
        p.kind
            .strip_prefix("urn:nightfill:")
            .is_some_and(|k| ours.contains(&k))
    })
}

/// The problem's own words, or the beginning of whatever was answered.
pub(crate) fn explanation(status: StatusCode, text: &str) -> String {
    let said = match serde_json::from_str::<Problem>(text) {
        Ok(p) if p.detail.is_empty() => p.title,
        Ok(p) => p.detail,
        Err(_) => text.trim().chars().take(SHOWN).collect(),
    };
    match said.trim_end_matches('.') {
        "" => status.canonical_reason().unwrap_or("refused").to_owned(),
        said => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_explained_in_the_control_planes_words() {
        let problem = r#"{"type":"urn:nightfill:stale_plan","title":"stale plan","status":409,"detail":"plan 3 is not above 4."}"#;
        assert_eq!(
            explanation(StatusCode::CONFLICT, problem),
            "plan 3 is not above 4"
        );
        assert_eq!(explanation(StatusCode::BAD_GATEWAY, "<html>"), "<html>");
        assert_eq!(explanation(StatusCode::BAD_GATEWAY, ""), "Bad Gateway");
    }

    #[test]
    fn other_servers_are_told_from_a_control_plane() {
        let problem =
            |kind: &str| format!(r#"{{"type":"urn:nightfill:{kind}","title":"","status":404,"detail":""}}"#);
        assert!(is_ours(&problem("not_found")), "no such appliance");
        assert!(!is_ours(&problem("not-found")), "the steering service");
        assert!(!is_ours("<html>404</html>"));
    }

    #[test]
    fn addresses_are_checked_at_once() {
        for bad in ["", "127.0.0.1:8000", "ftp://x", "http://", "x y"] {
            assert!(
                matches!(Client::new(bad, None), Err(ClientError::Address(_))),
                "{bad}"
            );
        }
        assert!(Client::new("http://127.0.0.1:8000/", None).is_ok());
    }

    #[tokio::test]
    async fn a_control_plane_that_is_away_is_named() {
        // Port 1 of loopback is not listened on.
        let client = Client::new("http://127.0.0.1:1", None).unwrap();
        let e = client.titles().await.unwrap_err().to_string();
        assert!(
            e.contains("http://127.0.0.1:1 does not answer") && e.contains("refused"),
            "{e}"
        );
    }
}
