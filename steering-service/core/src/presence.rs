//! Which appliances hold which titles: a set of appliances for each title, so that a request asks one bit an appliance.
//!
//! A title's objects are placed together as a rule, so that most objects have the same holders; each set is stored once.

use crate::bits;
use std::{borrow::Cow, collections::HashMap};

/// Objects whose holders are gathered at once: bounds the memory while building.
const CHUNK: usize = 1 << 16;

/// The holders of every object and title of a snapshot.
#[derive(Debug, Default)]
pub struct Presence {
    words: usize,
    sets: Vec<u64>,
    of_object: Vec<u32>,
    of_title: Vec<u32>,
}

impl Presence {
    /// From what each appliance holds and what each title needs; all positions are below `objects`.
    pub fn new<'a>(objects: usize, holds: &[&'a [u32]], titles: impl Iterator<Item = &'a [u32]>) -> Self {
        let words = bits::words(holds.len()).max(1);
        let mut sets = Sets::new(words);
        let of_object = object_holders(objects, holds, &mut sets);
        let of_title = titles
            .map(|needed| match needed {
                [] => 0, // nothing to send: held by nobody
                [first, rest @ ..] => {
                    let mut all = of_object[*first as usize];
                    for object in rest {
                        all = sets.both(all, of_object[*object as usize]);
                    }
                    all
                }
            })
            .collect();
        Self {
            words,
            sets: sets.words,
            of_object,
            of_title,
        }
    }

    /// The appliances that hold all of a title, as words of bits.
    pub fn of_title(&self, title: u32) -> &[u64] {
        self.set(self.of_title[title as usize])
    }
    /// The appliances that hold an object.
    pub fn of_object(&self, object: u32) -> &[u64] {
        self.set(self.of_object[object as usize])
    }
    fn set(&self, number: u32) -> &[u64] {
        let from = number as usize * self.words;
        &self.sets[from..from + self.words]
    }
}

fn object_holders(objects: usize, holds: &[&[u32]], sets: &mut Sets) -> Vec<u32> {
    let rising: Vec<Cow<[u32]>> = holds.iter().map(|list| rising(list)).collect();
    let mut next = vec![0; holds.len()];
    let mut of_object = Vec::with_capacity(objects);
    let mut rows = Vec::new();
    for from in (0..objects).step_by(CHUNK) {
        let to = objects.min(from + CHUNK);
        rows.clear();
        rows.resize((to - from) * sets.width, 0u64);
        for (appliance, list) in rising.iter().enumerate() {
            while let Some(object) = list.get(next[appliance]).filter(|o| (**o as usize) < to) {
                rows[(*object as usize - from) * sets.width + appliance / 64] |= 1 << (appliance % 64);
                next[appliance] += 1;
            }
        }
        of_object.extend(rows.chunks(sets.width).map(|row| sets.number(row)));
    }
    of_object
}

fn rising(list: &[u32]) -> Cow<'_, [u32]> {
    if list.is_sorted() {
        return Cow::Borrowed(list);
    }
    let mut sorted = list.to_vec();
    sorted.sort_unstable();
    Cow::Owned(sorted)
}

/// Different sets, side by side; number 0 is the empty one.
struct Sets {
    width: usize,
    words: Vec<u64>,
    numbers: HashMap<Box<[u64]>, u32, foldhash::fast::FixedState>,
    both: HashMap<(u32, u32), u32, foldhash::fast::FixedState>,
}

impl Sets {
    fn new(width: usize) -> Self {
        let mut sets = Self {
            width,
            words: Vec::new(),
            numbers: HashMap::default(),
            both: HashMap::default(),
        };
        sets.number(&vec![0; width]);
        sets
    }
    fn number(&mut self, set: &[u64]) -> u32 {
        if let Some(number) = self.numbers.get(set) {
            return *number;
        }
        let number = (self.words.len() / self.width) as u32;
        self.words.extend_from_slice(set);
        self.numbers.insert(set.into(), number);
        number
    }
    fn both(&mut self, a: u32, b: u32) -> u32 {
        if a == b {
            return a;
        }
        if let Some(known) = self.both.get(&(a, b)) {
            return *known;
        }
        let row = |n: u32| &self.words[n as usize * self.width..][..self.width];
        let meet: Vec<u64> = row(a).iter().zip(row(b)).map(|(a, b)| a & b).collect();
        let number = self.number(&meet);
        self.both.insert((a, b), number);
        number
    }
}
