//! Grows an ensemble from a table.
//!
//! Per scale several boosters, which differ by the seed that draws rows and features; then once more with blocks of rows held
//! back, to learn how far truth falls from prediction. The same table, recipe and seed give the same model, bit by bit.

use fill_core::{
    spread::Spread,
    table::Table,
    trees::{Booster, Ensemble, Member, Scale, Tree},
};
use forust_ml::{
    Matrix,
    gradientbooster::{GradientBooster, GrowPolicy, MissingNodeTreatment},
    objective::ObjectiveType,
    sampler::SampleMethod,
};

/// How a model is grown.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// The scales of its members.
    pub scales: Vec<Scale>,
    /// Boosters a scale.
    pub seeds: u64,
    /// Trees a booster.
    pub trees: usize,
    /// Share of a tree's word that counts.
    pub learning_rate: f32,
    /// Depth of a tree at most.
    pub depth: usize,
    /// Leaves of a tree at most.
    pub leaves: usize,
    /// Weight of a leaf's rows at least; the mean row weighs 1.
    pub leaf_weight: f32,
    /// Share of rows that a tree sees.
    pub rows: f32,
    /// Share of features that a tree sees.
    pub features: f64,
    /// Parts that are held back in turn to learn the spread; 0 learns none.
    pub folds: usize,
}

/// Why no model grows.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Nothing to learn from.
    #[error("there is no row to learn from; the training window holds no report, or none with sizes")]
    Empty,
    /// Too few to learn from.
    #[error(
        "{rows} nights of titles are too few to learn from, {least} are needed; the history is too short, or too few titles are drawn"
    )]
    TooFew {
        /// Rows that there are.
        rows: usize,
        /// Rows that are needed.
        least: usize,
    },
    /// Nothing was known long enough.
    #[error("{days} whole days of demand are too few to learn from and to be judged by, {least} are needed")]
    TooShort {
        /// Days that are known.
        days: usize,
        /// Days that are needed.
        least: usize,
    },
    /// The library refuses the table.
    #[error("boosting: {0}")]
    Boosting(String),
}

/// Grows a model. `blocks` says for each row what it stands or falls with: rows of one block are held back together.
pub fn train(table: &Table, blocks: &[usize], recipe: &Recipe, seed: u64) -> Result<Ensemble, TrainError> {
    let mut model = grow(table, recipe, recipe.seeds, seed)?;
    if recipe.folds > 1 {
        model.spread = held_back(table, blocks, recipe, seed)?;
    }
    Ok(model)
}

fn grow(table: &Table, recipe: &Recipe, seeds: u64, seed: u64) -> Result<Ensemble, TrainError> {
    if table.is_empty() {
        return Err(TrainError::Empty);
    }
    let columns = table.columns();
    let data = Matrix::new(&columns, table.len(), table.names().len());
    let mean_weight = table.weight.iter().sum::<f64>() / table.len() as f64;
    let weight: Vec<f64> = table.weight.iter().map(|w| w / mean_weight).collect();
    let mut members = Vec::with_capacity(recipe.scales.len());
    for scale in &recipe.scales {
        let target: Vec<f64> = table.target.iter().map(|t| scale.scaled(*t)).collect();
        let boosters = (0..seeds)
            .map(|n| boost(&data, &target, &weight, recipe, seed.wrapping_add(n)))
            .collect::<Result<_, _>>()?;
        members.push(Member {
            scale: *scale,
            boosters,
        });
    }
    Ok(Ensemble {
        features: table.names().iter().map(ToString::to_string).collect(),
        members,
        spread: Spread::default(),
    })
}

fn boost(
    data: &Matrix<'_, f64>,
    target: &[f64],
    weight: &[f64],
    recipe: &Recipe,
    seed: u64,
) -> Result<Booster, TrainError> {
    let mean = target.iter().zip(weight).map(|(t, w)| t * w).sum::<f64>() / weight.iter().sum::<f64>();
    let mut booster = GradientBooster::default()
        .set_objective_type(ObjectiveType::SquaredLoss)
        .set_iterations(recipe.trees)
        .set_learning_rate(recipe.learning_rate)
        .set_max_depth(recipe.depth)
        .set_max_leaves(recipe.leaves)
        .set_min_leaf_weight(recipe.leaf_weight)
        .set_subsample(recipe.rows)
        .set_colsample_bytree(recipe.features)
        .set_sample_method(SampleMethod::Random)
        .set_base_score(mean)
        .set_initialize_base_score(false)
        .set_seed(seed);
    booster.grow_policy = GrowPolicy::LossGuide;
    booster.missing_node_treatment = MissingNodeTreatment::None;
    booster
        .fit(data, target, weight, None)
        .map_err(|e| TrainError::Boosting(e.to_string()))?;
    let trees = booster.trees.iter().map(tree).collect::<Option<_>>();
    Ok(Booster {
        base: booster.base_score,
        trees: trees.ok_or_else(|| {
            TrainError::Boosting("a tree has more nodes or features than can be kept".into())
        })?,
    })
}

/// A grown tree in the form that predicts. None if a number does not fit.
fn tree(grown: &forust_ml::tree::Tree) -> Option<Tree> {
    let mut tree = Tree::default();
    for node in &grown.nodes {
        let child = |at: usize| {
            if node.is_leaf {
                Some(0)
            } else {
                u32::try_from(at).ok()
            }
        };
        tree.feature.push(if node.is_leaf {
            0
        } else {
            u16::try_from(node.split_feature).ok()?
        });
        tree.split.push(if node.is_leaf { 0.0 } else { node.split_value });
        tree.left.push(child(node.left_child)?);
        tree.right.push(child(node.right_child)?);
        tree.missing.push(child(node.missing_node)?);
        tree.weight.push(node.weight_value);
    }
    Some(tree)
}

/// Predicts each part of the rows by models that have not seen it.
fn held_back(table: &Table, blocks: &[usize], recipe: &Recipe, seed: u64) -> Result<Spread, TrainError> {
    let mut pairs = Vec::with_capacity(table.len());
    for fold in 0..recipe.folds {
        // Blocks number what is sorted by name; a multiplicative hash spreads neighbours over the parts.
        let held = |row: usize| {
            let block = blocks.get(row).copied().unwrap_or(row) as u64;
            let spread = (block.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as usize;
            spread % recipe.folds == fold
        };
        let mut seen = Table::default();
        for row in (0..table.len()).filter(|row| !held(*row)) {
            let cells: Vec<_> = table
                .names()
                .iter()
                .copied()
                .zip(table.row(row).iter().copied())
                .collect();
            seen.push(&cells, table.target[row], table.weight[row])
                .map_err(|e| TrainError::Boosting(e.to_string()))?;
        }
        if seen.is_empty() || seen.len() == table.len() {
            continue;
        }
        let model = grow(&seen, recipe, 1, seed)?;
        let unseen = (0..table.len()).filter(|row| held(*row));
        pairs.extend(unseen.map(|row| (model.score(table.row(row)), table.target[row])));
    }
    Ok(Spread::learn(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe {
            scales: vec![Scale::Log(1.0), Scale::CubeRoot(1.0)],
            seeds: 2,
            trees: 40,
            learning_rate: 0.2,
            depth: 4,
            leaves: 16,
            leaf_weight: 5.0,
            rows: 0.8,
            features: 1.0,
            folds: 3,
        }
    }
    /// Demand follows `level` and doubles for launches; `noise` says nothing.
    fn table(rows: u32) -> (Table, Vec<usize>) {
        let mut table = Table::default();
        for i in 0..rows {
            let (level, launch) = (f64::from(i * 37 % 101), f64::from(i % 2));
            let row = [
                ("level", level),
                ("launch", if i % 10 == 9 { f64::NAN } else { launch }),
                ("noise", f64::from(i * 7919 % 13)),
            ];
            let wobble = 0.8 + 0.4 * f64::from(i * 31 % 17) / 17.0;
            table.push(&row, level * (1.0 + launch) * wobble, 1.0).unwrap();
        }
        (table, (0..rows as usize).map(|i| i / 2).collect())
    }

    #[test]
    fn what_was_shown_is_learnt_and_explained() {
        let (table, blocks) = table(2000);
        let model = train(&table, &blocks, &recipe(), 1).unwrap();
        model.check().unwrap();
        let (low, high, launch) = ([10.0, 0.0, 3.0], [80.0, 0.0, 3.0], [80.0, 1.0, 3.0]);
        assert!(
            (model.expected(&high) / 80.0 - 1.0).abs() < 0.15,
            "{}",
            model.expected(&high)
        );
        assert!(
            (model.expected(&launch) / 160.0 - 1.0).abs() < 0.15,
            "{}",
            model.expected(&launch)
        );
        assert!(model.score(&low) < model.score(&high) && model.score(&high) < model.score(&launch));
        let why = model.contributions(&launch).features;
        assert!(why[1] > 0.2 && why[0] > 0.2 && why[2].abs() < 0.1, "{why:?}");
        let (least, most) = (model.quantile(&high, 0.1), model.quantile(&high, 0.9));
        assert!(
            least < model.expected(&high) && model.expected(&high) < most,
            "{least} {most}"
        );
    }

    #[test]
    fn the_same_seed_grows_the_same_model() {
        let (table, blocks) = table(500);
        let text = |seed| serde_json::to_string(&train(&table, &blocks, &recipe(), seed).unwrap()).unwrap();
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }

    #[test]
    fn nothing_to_learn_from_is_said() {
        assert!(matches!(
            train(&Table::default(), &[], &recipe(), 1),
            Err(TrainError::Empty)
        ));
    }
}
