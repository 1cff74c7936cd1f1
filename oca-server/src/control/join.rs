//! Joining: presenting the one-time token until the control plane answers, then keeping the identity. A refusal is
//! retried too, for the operator may make the token after the appliance was started.

use super::{Control, Identity};
use crate::{
    config::JoinSecret,
    drain::Drain,
    metrics::Metrics,
    report::{conditions::Conditions, note_contact, pace},
};
use cdn_types::api::v1::JoinRequest;
use std::{path::Path, sync::Arc};

/// What joining needs.
#[derive(Debug)]
pub struct Joining {
    /// Whom to ask.
    pub control: Control,
    /// The one-time token.
    pub secret: JoinSecret,
    /// The request, without its token.
    pub request: JoinRequest,
    /// What is wrong.
    pub conditions: Conditions,
    /// Shows whether the control plane answers.
    pub metrics: Arc<Metrics>,
}

impl Joining {
    /// Joins and keeps the identity at `path`; none if the process ends first.
    pub async fn run(self, path: &Path, drain: &Drain) -> Option<Identity> {
        let mut failures = 0;
        loop {
            match self.attempt().await {
                Ok(identity) => {
                    tracing::info!(site = %identity.site.id, "joined");
                    if let Err(e) = identity.save(path) {
                        tracing::error!(error = %e, "cannot keep the identity: a restart needs a new join token");
                    }
                    return Some(identity);
                }
                Err(why) => tracing::warn!(%why, "cannot join yet"),
            }
            failures += 1;
            tokio::select! {
                () = tokio::time::sleep(pace::pause(failures, pace::roll())) => {}
                () = drain.stopped() => return None,
            }
        }
    }

    async fn attempt(&self) -> Result<Identity, String> {
        let token = self.secret.read().map_err(|e| format!("join_token_file: {e}"))?;
        let request = JoinRequest {
            token,
            ..self.request.clone()
        };
        let answer = self.control.join(&request).await;
        note_contact(&self.conditions, &self.metrics, answer.as_ref().err());
        let answer = answer.map_err(|e| e.to_string())?;
        Ok(Identity::new(request.appliance, answer))
    }
}
