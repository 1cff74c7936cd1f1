//! Wire types of what appliances see of their viewers (CMCD): appliance → control plane → steering. All of it is soft state:
//! the control plane keeps the last minute in memory, and what is lost is not asked for again.

use crate::{
    OcaId,
    viewers::{Network, SessionHash},
};
use serde::{Deserialize, Serialize};

/// Most networks of one batch.
pub const BATCH_NETWORKS: usize = 4_096;
/// Most sessions in each list of one batch.
pub const BATCH_SESSIONS: usize = 8_192;

wire! {
    /// What an appliance has seen since it told the last time.
    #[derive(Default)]
    pub struct Sightings {
        /// How fast viewers were served by it, by their own word.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub throughputs: Vec<NetworkThroughput>,
        /// Sessions that began at it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub began: Vec<SessionHash>,
        /// Sessions that came to it while they played.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub arrived: Vec<SessionHash>,
    }

    /// Throughput that sessions of one network measured, each counted once in some 20 s.
    pub struct NetworkThroughput {
        /// The network.
        pub network: Network,
        /// Steps of throughput ([`step`](crate::viewers::step)) with the number of sessions, rising.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub steps: Vec<(u8, u32)>,
        /// Sessions that measured what they call enough (CMCD `rtp`): the appliance sends them no more, so what the
        /// network would give is not known.
        #[serde(default, skip_serializing_if = "is_zero")]
        pub enough: u32,
    }

    /// Sightings on their way to the control plane. Batches are numbered within a boot; one that is not above the last
    /// changes nothing, and one that is missing is lost.
    pub struct ViewerBatch {
        /// Name of this run of the process, as in its reports.
        pub boot: String,
        /// Grows with every batch of the boot.
        pub number: u64,
        /// What was seen.
        pub seen: Sightings,
    }

    /// Answer to a batch.
    #[derive(Copy)]
    pub struct ViewerBatchAnswer {
        /// It was taken in; not if it is not newer than the last, or of a former boot.
        pub taken: bool,
    }

    /// What was told since a generation.
    pub struct ViewerNews {
        /// Ask for what came since this one next time.
        pub generation: u64,
        /// Something since the generation that was asked for is not known any more.
        pub missed: bool,
        /// Oldest first.
        pub reports: Vec<ViewerReport>,
    }

    /// What one appliance told at one time.
    pub struct ViewerReport {
        /// The appliance.
        pub appliance: OcaId,
        /// Milliseconds since the control plane was told.
        pub age_ms: u64,
        /// What was seen.
        pub seen: Sightings,
    }
}

impl Sightings {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.items() == 0
    }

    /// Entries of all lists.
    pub fn items(&self) -> usize {
        self.throughputs.len() + self.began.len() + self.arrived.len()
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::viewers::SidHash;

    #[test]
    fn a_batch_leaves_out_what_is_not_there_and_reads_back() {
        let network = Network::of("192.0.2.9".parse().unwrap());
        let session = SidHash::of("a").unwrap().within(network);
        let batch = ViewerBatch {
            boot: "b".into(),
            number: 3,
            seen: Sightings {
                throughputs: vec![NetworkThroughput {
                    network,
                    steps: vec![(4, 2), (5, 1)],
                    enough: 0,
                }],
                began: vec![],
                arrived: vec![session],
            },
        };
        let text = serde_json::to_string(&batch).unwrap();
        let hash = String::from(session);
        let expected = format!(
            r#"{{"boot":"b","number":3,"seen":{{"throughputs":[{{"network":"192.0.2.0/24","steps":[[4,2],[5,1]]}}],"arrived":["{hash}"]}}}}"#
        );
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<ViewerBatch>(&text).unwrap(), batch);
        let empty: ViewerBatch = serde_json::from_str(r#"{"boot":"b","number":1,"seen":{}}"#).unwrap();
        assert!(empty.seen.is_empty() && batch.seen.items() == 2);
    }
}
