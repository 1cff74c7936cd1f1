//! The figures behind the planner's judgement, each with its unit and reason. They are part of a plan's inputs: its
//! digest changes with them.

/// How the planner weighs copies, fills and swaps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Busiest hour's rate over the day's mean. 2.0: measured diurnal curves of video CDNs lie at 1.94 to 2.00.
    pub peak_to_mean: f64,
    /// Share of one appliance's egress that one title may need at its peak before a further copy relieves it.
    /// 0.25: four such titles may meet on one appliance before it is full.
    pub hot_egress_share: f64,
    /// The most drawn titles that together make this share of a site's bytes get a second copy as surely as a first one:
    /// the loss of any one appliance keeps them in the site. 0.2: a fifth of all hours goes to less than one title in a
    /// hundred, so it costs less than a hundredth of the catalogue's bytes.
    pub guard_share: f64,
    /// The most drawn titles that together make this share of a site's bytes are worth a second copy by the chance of a
    /// loss, where the room is not worth more otherwise.
    pub survival_share: f64,
    /// Chance that an appliance is out during an evening: what a second copy for survival is worth, as a share of
    /// the title's bytes. 0.02 is a cautious guess for hardware without field repair.
    pub loss_chance: f64,
    /// Most copies of a title in one site.
    pub max_copies: usize,
    /// Cost of filling one byte, in bytes served a day. A newcomer must bring this much more a day than what it
    /// displaces: at 0.05 a swap pays back a fill weighted as half a peak byte in ten days.
    pub fill_cost: f64,
    /// Further relative lead that a newcomer needs over what it displaces, so that two titles of like worth do not change places
    /// night after night. 0.05: simulated nights fill a sixth more than with 0.15 and serve 0.02 to 0.03 % more of all bytes; without
    /// any they would fill another sixth for a third of that (docs/decisions/forecast.md).
    pub swap_margin: f64,
    /// Weight of demand in other regions for a title that a region has never drawn, where the forecast has not measured it.
    /// 0.1: lists of two countries share about 0.3 of their titles, and the shared ones are drawn much less in the second.
    pub elsewhere_weight: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            peak_to_mean: 2.0,
            hot_egress_share: 0.25,
            guard_share: 0.2,
            survival_share: 0.8,
            loss_chance: 0.02,
            max_copies: 8,
            fill_cost: 0.05,
            swap_margin: 0.05,
            elsewhere_weight: 0.1,
        }
    }
}

impl Rules {
    /// The rules as bytes for the digest over a plan's inputs, in declared order.
    pub(crate) fn digest_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for figure in [
            self.peak_to_mean,
            self.hot_egress_share,
            self.guard_share,
            self.survival_share,
            self.loss_chance,
            self.max_copies as f64,
            self.fill_cost,
            self.swap_margin,
            self.elsewhere_weight,
        ] {
            out.extend_from_slice(&figure.to_bits().to_le_bytes());
        }
        out
    }
}
