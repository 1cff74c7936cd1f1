//! The control plane as the appliance sees it: join once, then plan, report and block digests, each with its time
//! limit and its size limit. Nothing here retries: the callers know what waiting costs them.

pub mod join;

use crate::store::layout;
use cdn_types::{
    ObjectDigest, OcaId,
    api::v1::{
        JoinAnswer, JoinRequest, ObjectInfo, PlanPart, Problem, Report, ReportAnswer, Site,
        routes::{RouteBatch, RouteBatchAnswer},
        viewers::{ViewerBatch, ViewerBatchAnswer},
    },
};
use reqwest::{Client, RequestBuilder, Response, StatusCode, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fs, io, path::Path, time::Duration};

/// Longest wait for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Longest wait for an answer, apart from what a long poll adds.
const ANSWER_TIME: Duration = Duration::from_secs(20);
/// The same for what is seen of viewers, which is worth little later.
const VIEWERS_TIME: Duration = Duration::from_secs(5);
/// Seconds that the plan's long poll asks the control plane to hold on.
const PLAN_WAIT_SECONDS: u64 = 30;
/// Largest answer that is read: a plan part of half a million items.
const ANSWER_BYTES: usize = 256 << 20;
/// `format` of identity.json that this release reads and writes.
const IDENTITY_FORMAT: u32 = 1;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No answer.
    #[error("the control plane at {0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// It answered no.
    #[error("the control plane refuses: {status}: {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        detail: String,
    },
    /// It answered something else than its contract says.
    #[error("the control plane's answer makes no sense: {0}")]
    Nonsense(String),
}

impl ControlError {
    /// Whether nobody answered, as against an answer that we do not like.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(..))
            || matches!(self, Self::Refused { status, .. } if *status >= 500)
    }
}

/// What the appliance is to the control plane, kept in `identity.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    format: u32,
    /// Who it is.
    pub appliance: OcaId,
    /// Bearer token of its calls.
    pub token: String,
    /// Its site when it joined.
    pub site: Site,
}

/// Why a kept identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// Not an identity of this release.
    #[error("it is not an identity of format {IDENTITY_FORMAT} ({0}); remove the file and join anew")]
    Format(String),
    /// Of another appliance.
    #[error("the folder belongs to appliance {0}; give this one its own root")]
    Other(OcaId),
}

impl Identity {
    /// What a join answered.
    pub fn new(appliance: OcaId, answer: JoinAnswer) -> Self {
        Self {
            format: IDENTITY_FORMAT,
            appliance,
            token: answer.token,
            site: answer.site,
        }
    }

    /// Reads what is kept, if anything is.
    pub fn load(path: &Path, appliance: &OcaId) -> Result<Option<Self>, IdentityError> {
        let text = match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let identity: Self =
            serde_json::from_slice(&text).map_err(|e| IdentityError::Format(e.to_string()))?;
        if identity.format != IDENTITY_FORMAT {
            return Err(IdentityError::Format(format!(
                "it says format {}",
                identity.format
            )));
        }
        if identity.appliance != *appliance {
            return Err(IdentityError::Other(identity.appliance));
        }
        Ok(Some(identity))
    }

    /// Keeps it, readable by this user alone.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        layout::replace(path, &serde_json::to_vec(self).map_err(io::Error::other)?, 0o600)
    }
}

/// A client of the control plane. It goes to it directly, whatever proxy the environment names.
#[derive(Debug, Clone)]
pub struct Control {
    client: Client,
    base: String,
}

/// What the plan's long poll answers.
#[derive(Debug)]
pub enum PlanAnswer {
    /// Nothing new within the wait.
    Unchanged,
    /// There is no active plan.
    None,
    /// The part, and the tag to ask with next time.
    Part(Box<PlanPart>, Option<String>),
}

impl Control {
    /// A client of the control plane at `base`.
    pub fn new(base: String) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIME)
            .user_agent(concat!("oca-server/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, base })
    }

    /// Presents the one-time token.
    pub async fn join(&self, request: &JoinRequest) -> Result<JoinAnswer, ControlError> {
        let call = self.client.post(format!("{}/v1/join", self.base)).json(request);
        self.answer(call.timeout(ANSWER_TIME)).await
    }

    /// Sends a report.
    pub async fn report(&self, me: &Identity, report: &Report) -> Result<ReportAnswer, ControlError> {
        let url = format!("{}/v1/appliances/{}/report", self.base, me.appliance);
        let call = self.client.post(url).bearer_auth(&me.token).json(report);
        self.answer(call.timeout(ANSWER_TIME)).await
    }

    /// Tells what changed of the routes that are heard.
    pub async fn routes(&self, me: &Identity, batch: &RouteBatch) -> Result<RouteBatchAnswer, ControlError> {
        let url = format!("{}/v1/appliances/{}/routes", self.base, me.appliance);
        let call = self.client.post(url).bearer_auth(&me.token).json(batch);
        self.answer(call.timeout(ANSWER_TIME)).await
    }

    /// Tells what was seen of viewers.
    pub async fn viewers(
        &self,
        me: &Identity,
        batch: &ViewerBatch,
    ) -> Result<ViewerBatchAnswer, ControlError> {
        let url = format!("{}/v1/appliances/{}/viewers", self.base, me.appliance);
        let call = self.client.post(url).bearer_auth(&me.token).json(batch);
        self.answer(call.timeout(VIEWERS_TIME)).await
    }

    /// Asks for an object's block digests.
    pub async fn object(&self, digest: &ObjectDigest) -> Result<ObjectInfo, ControlError> {
        let call = self.client.get(format!("{}/v1/objects/{digest}", self.base));
        self.answer(call.timeout(ANSWER_TIME)).await
    }

    /// Waits for a plan other than the one with this tag.
    pub async fn plan(&self, me: &Identity, tag: Option<&str>) -> Result<PlanAnswer, ControlError> {
        let url = format!(
            "{}/v1/appliances/{}/plan?wait={PLAN_WAIT_SECONDS}",
            self.base, me.appliance
        );
        let mut call = self.client.get(url).bearer_auth(&me.token);
        if let Some(tag) = tag {
            call = call.header(header::IF_NONE_MATCH, tag);
        }
        let wait = ANSWER_TIME + Duration::from_secs(PLAN_WAIT_SECONDS);
        let response = self.send(call.timeout(wait)).await?;
        match response.status() {
            StatusCode::NOT_MODIFIED => Ok(PlanAnswer::Unchanged),
            StatusCode::NOT_FOUND | StatusCode::NO_CONTENT => Ok(PlanAnswer::None),
            _ => {
                let tag = response.headers().get(header::ETAG);
                let tag = tag.and_then(|t| t.to_str().ok()).map(str::to_owned);
                Ok(PlanAnswer::Part(Box::new(self.read(response).await?), tag))
            }
        }
    }

    async fn answer<T: DeserializeOwned>(&self, call: RequestBuilder) -> Result<T, ControlError> {
        let response = self.send(call).await?;
        self.read(response).await
    }

    async fn send(&self, call: RequestBuilder) -> Result<Response, ControlError> {
        call.send().await.map_err(|e| self.unreachable(&e))
    }

    fn unreachable(&self, e: &reqwest::Error) -> ControlError {
        ControlError::Unreachable(self.base.clone(), root_cause(e))
    }

    async fn read<T: DeserializeOwned>(&self, mut response: Response) -> Result<T, ControlError> {
        let status = response.status();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|e| self.unreachable(&e))? {
            if body.len() + piece.len() > ANSWER_BYTES {
                return Err(ControlError::Nonsense(format!(
                    "it is longer than {ANSWER_BYTES} bytes"
                )));
            }
            body.extend_from_slice(&piece);
        }
        if !status.is_success() {
            let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
            let words = [problem.detail, problem.title]
                .into_iter()
                .find(|w| !w.is_empty());
            return Err(ControlError::Refused {
                status: status.as_u16(),
                detail: words
                    .unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given").to_owned()),
            });
        }
        serde_json::from_slice(&body).map_err(|e| ControlError::Nonsense(e.to_string()))
    }
}

/// The innermost cause: reqwest's outer texts repeat the URL and hide the reason.
pub fn root_cause(e: &dyn std::error::Error) -> String {
    let mut cause = e;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_private_and_of_one_appliance() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.json");
        let (a, b) = (OcaId::new("a").unwrap(), OcaId::new("b").unwrap());
        assert!(Identity::load(&path, &a).unwrap().is_none());
        let site = serde_json::from_str(
            r#"{"id":"s","region":"r","prefixes":[],"window":{"start":"00:00","end":"00:00","time_zone":"UTC"}}"#,
        );
        let answer = JoinAnswer {
            token: "secret".into(),
            site: site.unwrap(),
        };
        let identity = Identity::new(a.clone(), answer);
        identity.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Identity::load(&path, &a).unwrap(), Some(identity));
        let other = Identity::load(&path, &b).unwrap_err().to_string();
        assert!(other.contains("belongs to appliance a"), "{other}");
        fs::write(&path, "{}").unwrap();
        let damaged = Identity::load(&path, &a).unwrap_err().to_string();
        assert!(damaged.contains("join anew"), "{damaged}");
    }
}
