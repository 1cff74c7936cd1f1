//! The lines of a field section, all in one buffer: a request costs two allocations whatever its fields.

use std::ops::Range;

/// Field lines in order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct FieldLines {
    text: Vec<u8>,
    /// End of the name and of the value of each line.
    ends: Vec<(u32, u32)>,
    /// End of the name of the line that is being written.
    name_end: usize,
}

impl FieldLines {
    /// Adds a line.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_name(name);
        self.text.extend_from_slice(value);
        self.end_line();
    }

    /// Begins a line with its name.
    pub(super) fn push_name(&mut self, name: &[u8]) {
        self.text.extend_from_slice(name);
        self.end_name();
    }

    /// Where the next line's name is to be appended; then tell [`end_name`](Self::end_name).
    pub(super) fn name_space(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// The name is whole.
    pub(super) fn end_name(&mut self) {
        self.name_end = self.text.len();
    }

    /// Where the line's value is to be appended; then tell [`end_line`](Self::end_line).
    pub(super) fn value_space(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// The line is whole.
    pub(super) fn end_line(&mut self) {
        let end = |n: usize| u32::try_from(n).unwrap_or(u32::MAX); // sections are far smaller
        self.ends.push((end(self.name_end), end(self.text.len())));
    }

    /// Bytes of all names and values.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A line.
    pub fn line(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let (name, value) = self.ranges(index)?;
        Some((self.text.get(name)?, self.text.get(value)?))
    }

    /// All lines.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (0..self.len()).filter_map(|index| self.line(index))
    }

    fn ranges(&self, index: usize) -> Option<(Range<usize>, Range<usize>)> {
        let (name, value) = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            None => 0,
            Some(before) => self.ends[before].1 as usize,
        };
        let name = name as usize;
        Some((start..name, name..value as usize))
    }
}
