//! How an appliance gets its identity: the operator makes a one-time token, the appliance presents it.
//!
//! The token stays good until the appliance's first report, so that an answer lost on the way costs nothing; each
//! time it is presented the appliance gets a new bearer token and the one before ends. An appliance that joins anew
//! (new hardware under an old name) starts without report and inventory.

use super::{Refusal, Registry, checked_address};
use crate::{
    limits,
    secret::{self, Secret},
    store::{self, ApplianceRow, JoinTokenRow, TokenRow},
};
use cdn_types::{
    api::v1::{JoinAnswer, JoinRequest, JoinToken, NewJoinToken, NewToken, Role, TokenAnswer},
    time::Timestamp,
};
use std::{sync::Arc, time::Duration};

/// Seconds that a join token is good for unless told otherwise: a day.
const DEFAULT_VALID_SECONDS: u64 = 86_400;

impl Registry {
    /// Makes a join token.
    pub async fn add_join_token(self: &Arc<Self>, wanted: NewJoinToken) -> Result<JoinToken, Refusal> {
        let seconds = wanted.valid_seconds.unwrap_or(DEFAULT_VALID_SECONDS);
        if !(1..=limits::JOIN_TOKEN_SECONDS).contains(&seconds) {
            return Err(Refusal::Lifetime(seconds));
        }
        if self.fleet().site(&wanted.site).is_none() {
            return Err(Refusal::UnknownSite(wanted.site));
        }
        let secret = random()?;
        let now = store::now();
        let row = JoinTokenRow {
            appliance: wanted.appliance,
            site: wanted.site,
            expires: now
                .checked_add(Duration::from_secs(seconds))
                .unwrap_or(Timestamp::MAX),
            presented: false,
            used: false,
        };
        let answer = JoinToken {
            expires: row.expires,
            token: secret.clone().expose(),
        };
        self.unbroken(|this| async move {
            this.store.add_join_token(&secret.hash(), &row, now).await?;
            Ok(answer)
        })
        .await
    }

    /// Lets an appliance join.
    pub async fn join(self: &Arc<Self>, request: JoinRequest) -> Result<JoinAnswer, Refusal> {
        let base_url = checked_address(&request.base_url)?;
        if request.profile.is_empty() || request.profile.chars().count() > limits::BOOT {
            return Err(Refusal::Text {
                what: "profile",
                limit: limits::BOOT,
            });
        }
        self.unbroken(|this| async move {
            let _turn = this.turn.lock().await;
            let now = store::now();
            let join_hash = secret::hash(&request.token);
            let token = this.store.join_token(&join_hash).await?;
            let token = usable(token, &request, now)?;
            let site = this
                .fleet()
                .site(&token.site)
                .cloned()
                .ok_or(Refusal::UnknownSite(token.site.clone()))?;
            let drain = this
                .fleet()
                .appliance(&request.appliance)
                .is_some_and(|a| a.row.drain);
            let row = ApplianceRow {
                id: request.appliance,
                site: token.site,
                base_url,
                profile: request.profile,
                capacity: request.capacity,
                drain,
                lost: false,
                report: None,
            };
            let bearer = random()?;
            this.store.join(&row, &join_hash, &bearer.hash(), now).await?;
            tracing::info!(appliance = %row.id, site = %row.site, base_url = %row.base_url, "joined");
            let uptime = this.uptime();
            this.apply(|fleet| fleet.restore(row, &[], uptime));
            Ok(JoinAnswer {
                token: bearer.expose(),
                site,
            })
        })
        .await
    }

    /// Makes an API token; appliances get theirs by joining.
    pub async fn add_token(self: &Arc<Self>, wanted: NewToken) -> Result<TokenAnswer, Refusal> {
        if wanted.role == Role::Appliance {
            return Err(Refusal::ApplianceToken);
        }
        if wanted.name.is_empty() || wanted.name.chars().count() > limits::TEXT {
            return Err(Refusal::Text {
                what: "name",
                limit: limits::TEXT,
            });
        }
        let secret = random()?;
        let row = TokenRow {
            role: wanted.role,
            name: wanted.name,
            appliance: None,
        };
        self.unbroken(|this| async move {
            this.store.add_token(&secret.hash(), &row, store::now()).await?;
            Ok(TokenAnswer {
                token: secret.expose(),
            })
        })
        .await
    }
}

fn usable(
    token: Option<JoinTokenRow>,
    request: &JoinRequest,
    now: Timestamp,
) -> Result<JoinTokenRow, Refusal> {
    let token = token.ok_or(Refusal::JoinUnknown)?;
    if token.appliance != request.appliance {
        Err(Refusal::JoinOther {
            wanted: token.appliance,
            found: request.appliance.clone(),
        })
    } else if token.used {
        Err(Refusal::JoinUsed(token.appliance))
    } else if token.expires <= now {
        Err(Refusal::JoinExpired(token.expires))
    } else {
        Ok(token)
    }
}

fn random() -> Result<Secret, Refusal> {
    Secret::random().map_err(Refusal::Randomness)
}
