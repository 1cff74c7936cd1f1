//! The control plane as the planner uses it. Calls are asked again with growing waits when the control plane is away
//! or failing, never when it refuses. Publishing twice is harmless: a plan that is there already, byte for byte the
//! same, counts as published.

use crate::retry;
use cdn_types::{
    Hour, PlanNumber,
    api::v1::{Catalogue, DemandRow, FleetSnapshot, PlanSummary, Problem},
    plan::Plan,
};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// Seconds to wait for a connection.
const CONNECT_SECONDS: u64 = 10;
/// Seconds to wait for one answer: eight weeks of demand may take a while.
const ANSWER_SECONDS: u64 = 300;

/// Why the control plane could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It does not answer, or not with what it should.
    #[error("{call}: {problem}. Is the control plane running at that address?")]
    Away {
        /// Method and address.
        call: String,
        /// What happened.
        problem: String,
    },
    /// It answers with a failure of its own.
    #[error("{call}: the control plane fails with {status}: {detail}")]
    Fails {
        /// Method and address.
        call: String,
        /// Its status.
        status: StatusCode,
        /// What it says.
        detail: String,
    },
    /// It refuses.
    #[error("{call}: refused with {status}: {detail}")]
    Refused {
        /// Method and address.
        call: String,
        /// Its status.
        status: StatusCode,
        /// What it says.
        detail: String,
    },
    /// The token is unknown or of another role.
    #[error(
        "{call}: refused with {status}: {detail}. Give a token of role planner with --token-file; `nightfill token planner --name cron` makes one"
    )]
    Token {
        /// Method and address.
        call: String,
        /// 401 or 403.
        status: StatusCode,
        /// What it says.
        detail: String,
    },
    /// Another plan with this number or a higher one is there.
    #[error("the plan is stale: {0}. Run again: it will take a higher number")]
    Stale(String),
}

/// A control plane.
#[derive(Debug, Clone)]
pub struct Control {
    client: Client,
    base: String,
    token: Option<String>,
}

impl Control {
    /// `base` is `http://host:port`.
    pub fn new(base: &str, token: Option<String>) -> Result<Self, String> {
        // An error means that a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS))
            .timeout(Duration::from_secs(ANSWER_SECONDS))
            .build()
            .map_err(|e| format!("cannot make an HTTP client: {}", innermost(&e)))?;
        let base = base.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(format!("--control `{base}` must begin with http:// or https://"));
        }
        Ok(Self { client, base, token })
    }

    /// All objects.
    pub async fn catalogue(&self) -> Result<Catalogue, ControlError> {
        self.get("/v1/catalogue").await
    }
    /// The fleet with what it holds.
    pub async fn fleet(&self) -> Result<FleetSnapshot, ControlError> {
        self.get("/v1/fleet").await
    }
    /// Demand of `from` ≤ hour < `to`.
    pub async fn demand(&self, from: Hour, to: Hour) -> Result<Vec<DemandRow>, ControlError> {
        self.get(&format!("/v1/demand?from={from}&to={to}")).await
    }
    /// Plans that are there.
    pub async fn plans(&self) -> Result<Vec<PlanSummary>, ControlError> {
        self.get("/v1/plans").await
    }
    /// One plan.
    pub async fn plan(&self, number: PlanNumber) -> Result<Plan, ControlError> {
        self.get(&format!("/v1/plans/{number}")).await
    }

    /// Publishes a plan.
    pub async fn publish(&self, plan: &Plan) -> Result<(), ControlError> {
        let call = format!("POST {}/v1/plans", self.base);
        let make = || self.client.post(format!("{}/v1/plans", self.base)).json(plan);
        match self.ask::<serde::de::IgnoredAny>(&call, make).await {
            Ok(_) => Ok(()),
            Err(ControlError::Refused { status, detail, .. }) if status == StatusCode::CONFLICT => {
                // An answer that was lost on the way leaves the plan there.
                match self.plan(plan.number).await {
                    Ok(there) if there == *plan => Ok(()),
                    _ => Err(ControlError::Stale(detail)),
                }
            }
            Err(e) => Err(e),
        }
    }

    /// Leaves what is to be said of a plan; `kind` is `report` or `review`.
    pub async fn note<T: Serialize>(
        &self,
        number: PlanNumber,
        kind: &str,
        note: &T,
    ) -> Result<(), ControlError> {
        let address = format!("{}/v1/plans/{number}/{kind}", self.base);
        let call = format!("PUT {address}");
        let make = || self.client.put(&address).json(note);
        self.ask::<serde::de::IgnoredAny>(&call, make).await.map(|_| ())
    }

    /// What was left of a plan; absent = nothing.
    pub async fn noted<T: DeserializeOwned>(
        &self,
        number: PlanNumber,
        kind: &str,
    ) -> Result<Option<T>, ControlError> {
        match self.get(&format!("/v1/plans/{number}/{kind}")).await {
            Err(ControlError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(None),
            other => other.map(Some),
        }
    }

    /// Makes a published plan the active one.
    pub async fn activate(&self, number: PlanNumber) -> Result<(), ControlError> {
        let address = format!("{}/v1/plans/{number}/activate", self.base);
        let call = format!("POST {address}");
        let make = || self.client.post(&address);
        match self.ask::<serde::de::IgnoredAny>(&call, make).await {
            Err(ControlError::Refused { status, detail, .. }) if status == StatusCode::CONFLICT => {
                Err(ControlError::Stale(detail))
            }
            other => other.map(|_| ()),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ControlError> {
        let address = format!("{}{path}", self.base);
        let call = format!("GET {address}");
        self.ask(&call, || self.client.get(&address)).await
    }

    /// Asks until there is an answer, a refusal, or no retry is left.
    async fn ask<T: DeserializeOwned>(
        &self,
        call: &str,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<T, ControlError> {
        let mut retry = 0;
        loop {
            let request = match &self.token {
                Some(token) => make().bearer_auth(token),
                None => make(),
            };
            let error = match once(call, request).await {
                Err(e @ (ControlError::Away { .. } | ControlError::Fails { .. })) => e,
                outcome => return outcome,
            };
            if retry == retry::MAX_RETRIES {
                return Err(error);
            }
            let wait = retry::wait(retry, u64::from(std::process::id()));
            tracing::warn!("{error}; again in {:.1} s", wait.as_secs_f64());
            tokio::time::sleep(wait).await;
            retry += 1;
        }
    }
}

async fn once<T: DeserializeOwned>(call: &str, request: RequestBuilder) -> Result<T, ControlError> {
    let away = |problem: String| ControlError::Away {
        call: call.to_owned(),
        problem,
    };
    let answer = request.send().await.map_err(|e| away(innermost(&e)))?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|e| away(innermost(&e)))?;
    if status.is_success() {
        return read(&body).map_err(|e| away(format!("its answer is not as agreed: {e}")));
    }
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    let detail = [problem.detail, problem.title]
        .into_iter()
        .find(|t| !t.is_empty())
        .unwrap_or_else(|| String::from_utf8_lossy(&body).chars().take(200).collect());
    let call = call.to_owned();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        Err(ControlError::Fails { call, status, detail })
    } else if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        Err(ControlError::Token { call, status, detail })
    } else {
        Err(ControlError::Refused { call, status, detail })
    }
}

/// An empty body reads as `null`, so that 204 answers calls whose content is not wanted.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(if body.is_empty() { b"null" } else { body })
}

/// The last cause in a chain of errors says what happened; those before only say where, which the call says already.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
