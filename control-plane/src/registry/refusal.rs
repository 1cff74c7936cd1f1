//! Why a change is refused, and which problem the caller gets for it.

use crate::{limits, problem::ApiProblem, store::StoreError};
use cdn_types::{
    ObjectDigest, OcaId, PlanNumber, SiteId, TitleId, plan::PlanError, time::Timestamp, title::TitleError,
};
use ipnet::IpNet;

/// Why a change is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Ours: the database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Ours: the operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(getrandom::Error),
    /// Ours: the change's task ended early; the program is going down.
    #[error("the change was interrupted; ask again")]
    Interrupted,
    /// A list above its limit.
    #[error("`{what}` has {found} entries; at most {limit} are taken")]
    TooMany {
        /// Which list.
        what: &'static str,
        /// Entries that are taken.
        limit: usize,
        /// Entries that it has.
        found: usize,
    },
    /// The title breaks a rule of its format.
    #[error("manifest: {0}")]
    Title(#[from] TitleError),
    /// The id in the path is another.
    #[error("the address names {path}, the body {body}: they must be the same")]
    OtherId {
        /// In the path.
        path: String,
        /// In the body.
        body: String,
    },
    /// A manifest's text is not the object that the title names.
    #[error(
        "`{field}` is not the text of object `{path}`: its BLAKE3 digest is {found}, the manifest says {wanted}"
    )]
    ManifestText {
        /// `hls` or `dash`.
        field: &'static str,
        /// The object's path.
        path: String,
        /// Digest of the text.
        found: ObjectDigest,
        /// Digest in the manifest.
        wanted: ObjectDigest,
    },
    /// Bits behind the prefix length are set.
    #[error("prefixes: {0} has bits set behind /{len}; write {net}", len = .0.prefix_len(), net = .0.trunc())]
    HostBits(IpNet),
    /// The body names a site that does not exist.
    #[error("site {0} is not known; add it with PUT /v1/sites/{0}")]
    UnknownSite(SiteId),
    /// Not a usable lifetime.
    #[error("valid_seconds {0} is not 1 to {max}", max = limits::JOIN_TOKEN_SECONDS)]
    Lifetime(u64),
    /// Appliances' tokens come from joining.
    #[error("an appliance gets its token when it joins: make a join token with POST /v1/join-tokens")]
    ApplianceToken,
    /// Not a usable address.
    #[error("base_url `{text}`: {why}")]
    Address {
        /// As given.
        text: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A text that is empty or too long.
    #[error("`{what}` must have 1 to {limit} characters")]
    Text {
        /// Which field.
        what: &'static str,
        /// Characters that are taken.
        limit: usize,
    },
    /// A count that no appliance can reach.
    #[error("row {0}: requests and bytes are at most 2^50")]
    CountTooLarge(usize),
    /// No such join token.
    #[error("the join token is not known; make a new one with POST /v1/join-tokens")]
    JoinUnknown,
    /// Too late.
    #[error("the join token expired at {0}; make a new one with POST /v1/join-tokens")]
    JoinExpired(Timestamp),
    /// The appliance has joined and reported with it.
    #[error("the join token was used: {0} has joined and reported since; make a new one to join it anew")]
    JoinUsed(OcaId),
    /// It is another appliance's token.
    #[error("the join token is for appliance {wanted}, not for {found}")]
    JoinOther {
        /// Whose it is.
        wanted: OcaId,
        /// Who came with it.
        found: OcaId,
    },
    /// No such appliance.
    #[error("appliance {0} has not joined")]
    NoAppliance(OcaId),
    /// No such title.
    #[error("title {0} is not registered")]
    NoTitle(TitleId),
    /// The plan breaks a rule of its format.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// A number that no later one could follow.
    #[error("plan number {0} is above 2^53, which JSON readers do not keep exactly")]
    PlanNumber(PlanNumber),
    /// A number that would use up those of all later plans.
    #[error("plan number {number} is more than 2^41 above the highest so far, {highest}: give {next}", next = highest.0 + 1)]
    PlanStep {
        /// The plan's number.
        number: PlanNumber,
        /// Highest published.
        highest: PlanNumber,
    },
    /// A part for an appliance that has not joined.
    #[error("the plan has a part for appliance {0}, which has not joined")]
    PlanAppliance(OcaId),
    /// An item that is not in the catalogue as it says.
    #[error("part of {appliance}, item `{path}`: {why}; make the plan from the current catalogue")]
    PlanItem {
        /// Whose part.
        appliance: OcaId,
        /// The item's path.
        path: String,
        /// What does not agree.
        why: String,
    },
    /// A number that was published or passed already.
    #[error("plan {number} is not above {highest}, the highest that was published; number it {next} or more", next = .highest.0.saturating_add(1))]
    StalePlan {
        /// The plan's number.
        number: PlanNumber,
        /// Highest published.
        highest: PlanNumber,
    },
    /// Going back.
    #[error(
        "plan {number} is below the active plan {active}; to go back, publish its content under a new number"
    )]
    StaleActivation {
        /// The number asked for.
        number: PlanNumber,
        /// The active one.
        active: PlanNumber,
    },
    /// No such plan.
    #[error("plan {0} has not been published")]
    NoPlan(PlanNumber),
    /// Nobody has said anything of this plan.
    #[error("plan {number} has no {kind}; the planner sends it with PUT")]
    NoNote {
        /// The plan.
        number: PlanNumber,
        /// `report` or `review`.
        kind: &'static str,
    },
}

/// Checks a list's length.
pub fn at_most(what: &'static str, limit: usize, found: usize) -> Result<(), Refusal> {
    match found <= limit {
        true => Ok(()),
        false => Err(Refusal::TooMany { what, limit, found }),
    }
}

impl From<Refusal> for ApiProblem {
    fn from(refusal: Refusal) -> Self {
        use Refusal as R;
        match &refusal {
            R::Store(_) | R::Randomness(_) | R::Interrupted => Self::internal(&refusal),
            R::TooMany { .. } => Self::too_many(&refusal),
            R::JoinUnknown | R::JoinExpired(_) | R::JoinUsed(_) => Self::join_token(&refusal),
            R::JoinOther { .. } => Self::forbidden(&refusal),
            R::NoAppliance(_) | R::NoTitle(_) | R::NoPlan(_) | R::NoNote { .. } => Self::not_found(&refusal),
            R::StalePlan { .. } | R::StaleActivation { .. } => Self::stale_plan(&refusal),
            R::Title(_)
            | R::OtherId { .. }
            | R::ManifestText { .. }
            | R::HostBits(_)
            | R::UnknownSite(_)
            | R::Lifetime(_)
            | R::ApplianceToken
            | R::Address { .. }
            | R::Text { .. }
            | R::CountTooLarge(_)
            | R::Plan(_)
            | R::PlanNumber(_)
            | R::PlanStep { .. }
            | R::PlanAppliance(_)
            | R::PlanItem { .. } => Self::invalid(&refusal),
        }
    }
}

impl From<StoreError> for ApiProblem {
    fn from(error: StoreError) -> Self {
        Self::internal(error)
    }
}
