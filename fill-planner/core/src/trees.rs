//! Boosted trees as they predict: walked without the library that grew them, so that a core, a test and an explanation
//! read the same numbers. A tree is stored by columns; a node whose `left` is 0 is a leaf, since no child is the root.

use crate::spread::Spread;
use serde::{Deserialize, Serialize};

/// One tree. The columns have one cell a node; children stand behind their parent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// Feature that is asked.
    pub feature: Vec<u16>,
    /// Values below go left.
    pub split: Vec<f64>,
    /// Child for values below; 0 in leaves.
    pub left: Vec<u32>,
    /// Child for the others.
    pub right: Vec<u32>,
    /// Child where the value is not known.
    pub missing: Vec<u32>,
    /// What the rows that come here are worth: in leaves the answer, above them what an explanation compares with.
    pub weight: Vec<f32>,
}

/// A model that its own rules contradict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", .tree.map_or(String::new(), |t| format!("tree {t}: ")))]
pub struct TreeError {
    tree: Option<usize>,
    problem: &'static str,
}

impl TreeError {
    /// What is wrong with no tree in particular.
    pub(crate) fn other(problem: &'static str) -> Self {
        Self { tree: None, problem }
    }
}

impl Tree {
    /// Nodes from the root to the leaf of a row.
    fn path<'a>(&'a self, row: &'a [f64]) -> impl Iterator<Item = usize> + 'a {
        std::iter::successors(Some(0), |at| {
            if self.left[*at] == 0 {
                return None;
            }
            let value = row
                .get(usize::from(self.feature[*at]))
                .copied()
                .unwrap_or(f64::NAN);
            let next = if value.is_nan() {
                self.missing[*at]
            } else if value < self.split[*at] {
                self.left[*at]
            } else {
                self.right[*at]
            };
            usize::try_from(next).ok()
        })
    }
    fn predict(&self, row: &[f64]) -> f64 {
        self.path(row)
            .last()
            .map_or(0.0, |leaf| f64::from(self.weight[leaf]))
    }
    fn contribute(&self, row: &[f64], contributions: &mut [f64], base: &mut f64) {
        let mut above: Option<usize> = None;
        for node in self.path(row) {
            let weight = f64::from(self.weight[node]);
            match above {
                None => *base += weight,
                Some(parent) => {
                    if let Some(cell) = contributions.get_mut(usize::from(self.feature[parent])) {
                        *cell += weight - f64::from(self.weight[parent]);
                    }
                }
            }
            above = Some(node);
        }
    }
    fn check(&self, features: usize) -> Result<(), &'static str> {
        let nodes = self.weight.len();
        let columns = [
            self.feature.len(),
            self.split.len(),
            self.left.len(),
            self.right.len(),
            self.missing.len(),
        ];
        if nodes == 0 || columns.iter().any(|n| *n != nodes) {
            return Err("its columns have different lengths, or none");
        }
        for at in (0..nodes).filter(|at| self.left[*at] != 0) {
            let children = [self.left[at], self.right[at], self.missing[at]];
            if children
                .iter()
                .any(|c| usize::try_from(*c).is_ok_and(|c| c <= at || c >= nodes))
            {
                return Err("a child stands before its parent, or outside");
            }
            if usize::from(self.feature[at]) >= features {
                return Err("it asks a feature that the model does not have");
            }
        }
        Ok(())
    }
}

/// A sum of trees over a base.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Booster {
    /// What is predicted before any tree.
    pub base: f64,
    /// The trees.
    pub trees: Vec<Tree>,
}

impl Booster {
    fn predict(&self, row: &[f64]) -> f64 {
        self.base + self.trees.iter().map(|t| t.predict(row)).sum::<f64>()
    }
}

/// The scale on which demand is learnt. Squared errors on a root or logarithm rank well where plain ones follow a few giants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Logarithm of 1 + demand in units.
    Log(f64),
    /// Square root of demand in units.
    SquareRoot(f64),
    /// Cube root of demand in units.
    CubeRoot(f64),
    /// Logarithm of a ratio, which may be below one.
    Ratio,
}

impl Scale {
    /// Demand on the scale.
    pub fn scaled(self, demand: f64) -> f64 {
        let demand = demand.max(0.0);
        match self {
            Self::Log(unit) => (demand / unit).ln_1p(),
            Self::SquareRoot(unit) => (demand / unit).sqrt(),
            Self::CubeRoot(unit) => (demand / unit).cbrt(),
            Self::Ratio => demand.max(f64::MIN_POSITIVE).ln(),
        }
    }
    /// Demand of a value on the scale.
    pub fn demand(self, scaled: f64) -> f64 {
        let above = scaled.max(0.0);
        match self {
            Self::Log(unit) => above.exp_m1() * unit,
            Self::SquareRoot(unit) => above.powi(2) * unit,
            Self::CubeRoot(unit) => above.powi(3) * unit,
            Self::Ratio => scaled.exp(),
        }
    }
}

/// Boosters of one scale that differ by their seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The scale they predict on.
    pub scale: Scale,
    /// Their mean is the member's word.
    pub boosters: Vec<Booster>,
}

impl Member {
    fn mean(&self, row: &[f64]) -> f64 {
        self.boosters.iter().map(|b| b.predict(row)).sum::<f64>() / self.boosters.len().max(1) as f64
    }
}

/// Members of several scales under one prediction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ensemble {
    /// Names of the features, in the order of a row.
    pub features: Vec<String>,
    /// The members; the first one's scale is the one of explanations.
    pub members: Vec<Member>,
    /// What came of predictions on rows that were held back.
    pub spread: Spread,
}

/// Why a prediction is what it is, on the scale of the first member: the base and what each feature added add up to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contributions {
    /// What is predicted of the mean row.
    pub base: f64,
    /// What each feature added, in the order of the features.
    pub features: Vec<f64>,
}

impl Ensemble {
    /// Checks a model that was read from a file.
    pub fn check(&self) -> Result<(), TreeError> {
        let boosters = self.members.iter().flat_map(|m| &m.boosters);
        for (at, tree) in boosters.flat_map(|b| &b.trees).enumerate() {
            tree.check(self.features.len()).map_err(|problem| TreeError {
                tree: Some(at),
                problem,
            })?;
        }
        Ok(())
    }
    /// The rank of a row's demand: the mean of the members' words, by cube root, so that no scale's giants decide.
    pub fn score(&self, row: &[f64]) -> f64 {
        let words = self.members.iter().map(|m| m.scale.demand(m.mean(row)).cbrt());
        (words.sum::<f64>() / self.members.len().max(1) as f64).powi(3)
    }
    /// The mean demand of rows of this score: a root's or logarithm's mean is less than demand's mean, which the held-back rows
    /// make good.
    pub fn expected(&self, row: &[f64]) -> f64 {
        self.spread.mean(self.score(row))
    }
    /// Demand that is not exceeded with this probability.
    pub fn quantile(&self, row: &[f64], level: f64) -> f64 {
        self.spread.quantile(self.score(row), level)
    }
    /// What each feature added.
    pub fn contributions(&self, row: &[f64]) -> Contributions {
        let mut all = Contributions {
            base: 0.0,
            features: vec![0.0; self.features.len()],
        };
        let Some(first) = self.members.first() else {
            return all;
        };
        for booster in &first.boosters {
            all.base += booster.base;
            for tree in &booster.trees {
                tree.contribute(row, &mut all.features, &mut all.base);
            }
        }
        let n = first.boosters.len().max(1) as f64;
        all.base /= n;
        all.features.iter_mut().for_each(|c| *c /= n);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Below 5 of feature 1: 1; from 5 on or unknown: 3. The root's rows are worth 2.
    fn stump() -> Tree {
        Tree {
            feature: vec![1, 0, 0],
            split: vec![5.0, 0.0, 0.0],
            left: vec![1, 0, 0],
            right: vec![2, 0, 0],
            missing: vec![2, 0, 0],
            weight: vec![2.0, 1.0, 3.0],
        }
    }
    fn model(scale: Scale) -> Ensemble {
        let booster = Booster {
            base: 1.0,
            trees: vec![stump(), stump()],
        };
        Ensemble {
            features: vec!["a".into(), "b".into()],
            members: vec![Member {
                scale,
                boosters: vec![booster],
            }],
            spread: Spread::default(),
        }
    }

    #[test]
    fn rows_find_their_leaves_and_the_unknown_has_its_own_way() {
        let model = model(Scale::SquareRoot(2.0));
        assert!((model.score(&[0.0, 4.9]) - 18.0).abs() < 1e-9);
        assert!((model.score(&[0.0, 5.0]) - 98.0).abs() < 1e-9);
        assert!((model.score(&[0.0, f64::NAN]) - 98.0).abs() < 1e-9);
    }

    #[test]
    fn contributions_add_up_to_the_prediction() {
        let model = model(Scale::Log(1.0));
        let why = model.contributions(&[0.0, 1.0]);
        assert_eq!(why.features, [0.0, -2.0]);
        assert!((why.base + why.features.iter().sum::<f64>() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn scales_come_back() {
        for scale in [Scale::Log(5e4), Scale::SquareRoot(1e5), Scale::CubeRoot(1e5)] {
            for demand in [0.0, 1.0, 1e6, 1e12] {
                let back = scale.demand(scale.scaled(demand));
                assert!(
                    (back - demand).abs() <= 1e-9 * demand + 1e-9,
                    "{scale:?} {demand} {back}"
                );
            }
            assert_eq!(scale.demand(-1.0), 0.0);
        }
        for ratio in [0.05, 1.0, 20.0] {
            let back = Scale::Ratio.demand(Scale::Ratio.scaled(ratio));
            assert!((back - ratio).abs() < 1e-12, "{ratio} {back}");
        }
    }

    #[test]
    fn a_model_that_would_loop_or_ask_beyond_its_row_is_refused() {
        let spoilt = |spoil: fn(&mut Tree)| {
            let mut model = model(Scale::Log(1.0));
            spoil(&mut model.members[0].boosters[0].trees[1]);
            model.check()
        };
        assert!(spoilt(|_| ()).is_ok());
        assert!(spoilt(|t| t.right[0] = 9).is_err());
        assert!(spoilt(|t| t.missing[0] = 0).is_err());
        assert!(spoilt(|t| t.feature[0] = 2).is_err());
        assert!(spoilt(|t| t.split.truncate(1)).is_err());
        assert!(spoilt(|t| *t = Tree::default()).is_err());
    }
}
