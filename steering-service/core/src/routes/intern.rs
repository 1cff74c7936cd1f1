//! Equal values stored once, counted, and forgotten when the last user has gone.

use foldhash::fast::FixedState;
use std::{collections::HashMap, hash::Hash, sync::Arc};

/// The store. Numbers of forgotten values are given out again.
#[derive(Debug)]
pub struct Interner<T: ?Sized> {
    items: Vec<Option<(Arc<T>, u32)>>,
    free: Vec<u32>,
    numbers: HashMap<Arc<T>, u32, FixedState>,
}

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            free: Vec::new(),
            numbers: HashMap::default(),
        }
    }
}

impl<T: ?Sized + Eq + Hash> Interner<T> {
    /// The number of a value, for one more user; whether it is new.
    pub fn take(&mut self, value: &T, own: impl FnOnce(&T) -> Arc<T>) -> (u32, bool) {
        if let Some(number) = self.numbers.get(value).copied() {
            self.again(number);
            return (number, false);
        }
        let value = own(value);
        let number = self.free.pop().unwrap_or(self.items.len() as u32);
        if number as usize == self.items.len() {
            self.items.push(None);
        }
        self.items[number as usize] = Some((Arc::clone(&value), 1));
        self.numbers.insert(value, number);
        (number, true)
    }
    /// One more user.
    pub fn again(&mut self, number: u32) {
        let (_, users) = self.items[number as usize].as_mut().expect("a number has a user");
        *users += 1;
    }
    /// One user less; the value, if that was the last.
    pub fn release(&mut self, number: u32) -> Option<Arc<T>> {
        let item = &mut self.items[number as usize];
        let (_, users) = item.as_mut().expect("a number that is released has a user");
        *users -= 1;
        if *users > 0 {
            return None;
        }
        let (value, _) = item.take()?;
        self.numbers.remove(&value);
        self.free.push(number);
        Some(value)
    }
    /// The value of a number in use.
    pub fn get(&self, number: u32) -> &Arc<T> {
        let (value, _) = self.items[number as usize].as_ref().expect("a number has a user");
        value
    }
    /// Number of different values.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }
}
