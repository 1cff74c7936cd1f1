//! A table to learn from: named features, a target and a weight a row. What cannot be known stands as NaN.

/// Rows of features under fixed names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    names: Vec<&'static str>,
    cells: Vec<f64>,
    /// What is to be learnt, a row.
    pub target: Vec<f64>,
    /// How much a row counts.
    pub weight: Vec<f64>,
}

/// A row that does not fit its table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {row} has the features {found:?}, the table has {expected:?}")]
pub struct RowError {
    row: usize,
    found: Vec<&'static str>,
    expected: Vec<&'static str>,
}

impl Table {
    /// Adds a row. The first row's names are the table's.
    pub fn push(&mut self, row: &[(&'static str, f64)], target: f64, weight: f64) -> Result<(), RowError> {
        if self.is_empty() {
            self.names = row.iter().map(|(name, _)| *name).collect();
        } else if !row.iter().map(|(name, _)| name).eq(&self.names) {
            return Err(RowError {
                row: self.len(),
                found: row.iter().map(|(name, _)| *name).collect(),
                expected: self.names.clone(),
            });
        }
        self.cells.extend(row.iter().map(|(_, value)| value));
        self.target.push(target);
        self.weight.push(weight);
        Ok(())
    }
    /// Adds another table's rows.
    pub fn append(&mut self, other: &Self) -> Result<(), RowError> {
        if self.is_empty() {
            self.names.clone_from(&other.names);
        } else if !other.is_empty() && self.names != other.names {
            return Err(RowError {
                row: self.len(),
                found: other.names.clone(),
                expected: self.names.clone(),
            });
        }
        self.cells.extend_from_slice(&other.cells);
        self.target.extend_from_slice(&other.target);
        self.weight.extend_from_slice(&other.weight);
        Ok(())
    }
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.target.len()
    }
    /// No row.
    pub fn is_empty(&self) -> bool {
        self.target.is_empty()
    }
    /// Names of the features.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }
    /// One row's features.
    pub fn row(&self, at: usize) -> &[f64] {
        let width = self.names.len();
        self.cells.get(at * width..(at + 1) * width).unwrap_or_default()
    }
    /// All cells, feature by feature, as boosting reads them.
    pub fn columns(&self) -> Vec<f64> {
        let (width, rows) = (self.names.len(), self.len());
        let mut columns = Vec::with_capacity(self.cells.len());
        for column in 0..width {
            columns.extend((0..rows).map(|row| self.cells[row * width + column]));
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_out_as_columns_and_other_names_are_refused() {
        let mut table = Table::default();
        table.push(&[("a", 1.0), ("b", 2.0)], 9.0, 1.0).unwrap();
        table.push(&[("a", 3.0), ("b", 4.0)], 8.0, 2.0).unwrap();
        assert_eq!(table.columns(), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(table.row(1), [3.0, 4.0]);
        assert!(table.push(&[("a", 3.0), ("c", 4.0)], 8.0, 2.0).is_err());
        let twice = table.clone();
        table.append(&twice).unwrap();
        assert_eq!((table.len(), table.target[3]), (4, 8.0));
    }
}
