//! Personalised manifests: the packed multivariant playlist or MPD, rewritten so that the viewer's best appliances
//! are declared as pathways (HLS) or service locations (DASH) beside the address of the steering endpoint.
//!
//! Declaring appliances and reordering them later is the one form of content steering that every player follows;
//! cloning pathways breaks some. Rewriting leaves alone whatever it does not have to touch: tags and
//! elements that this release does not know reach the player.

pub mod hls;
pub mod mpd;
pub mod reference;

/// One way to the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pathway {
    /// Pathway-ID and service location.
    pub id: String,
    /// Scheme and authority (and path, if the appliance sits below one), no trailing slash.
    pub base_url: String,
    /// `/t/{title}/{version}`.
    pub plain: String,
    /// The same as the viewer is to ask for it: with a token, if addresses are signed.
    pub prefix: String,
}

impl Pathway {
    /// Address of a plain path within the title.
    pub fn url(&self, path: &str) -> String {
        format!("{}{}/{path}", self.base_url, self.prefix)
    }
}
