//! One request and what has come of its response. The protocols push into it: a head, then bytes, then the end. It
//! checks status, length and, if wanted, every byte; it keeps the times and counts.

use super::{
    choice::{Target, Wish},
    fault::Fault,
    tally::Tally,
};
use std::{cell::RefCell, fs::File, os::unix::fs::FileExt, rc::Rc, time::Instant};

/// The local copy of what is asked for.
#[derive(Debug, Clone)]
pub(super) struct Original {
    /// The file, open.
    pub file: Rc<File>,
    /// Room for the bytes to compare with, shared by the thread's exchanges.
    pub room: Rc<RefCell<Vec<u8>>>,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    /// What is asked for.
    pub wish: &'a Wish,
    /// The path that it is asked from.
    pub target: &'a Target,
    original: Option<Original>,
    tally: &'a Tally,
    began: Instant,
    first: Option<Instant>,
    status: u16,
    announced: Option<u64>,
    got: u64,
}

impl<'a> Exchange<'a> {
    /// A request that begins now.
    pub(super) fn new(
        wish: &'a Wish,
        target: &'a Target,
        original: Option<Original>,
        tally: &'a Tally,
    ) -> Self {
        Self {
            wish,
            target,
            original,
            tally,
            began: Instant::now(),
            first: None,
            status: 0,
            announced: None,
            got: 0,
        }
    }

    /// The value of the `Range` field, if one is to be sent.
    pub(super) fn range(&self) -> Option<String> {
        let range = self.wish.range.as_ref()?;
        Some(format!("bytes={}-{}", range.start, range.end - 1))
    }

    /// Whether nobody looks at the body's bytes.
    pub(super) fn discards(&self) -> bool {
        self.original.is_none()
    }

    /// Something of the response has come.
    pub(super) fn came(&mut self) {
        self.first.get_or_insert_with(Instant::now);
    }

    /// The head has come. Status and length are judged at the end, so that a connection stays usable after a refusal.
    pub(super) fn head(&mut self, status: u16, length: Option<u64>) -> Result<(), Fault> {
        self.status = status;
        self.announced = length;
        match (self.is_answer(), length, self.wanted()) {
            (true, Some(got), Some(wanted)) if got != wanted => Err(self.wrong_length(got, wanted)),
            _ => Ok(()),
        }
    }

    /// The body's next bytes.
    pub(super) fn body(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if let (Some(original), true) = (&self.original, self.is_answer()) {
            self.compare(original, bytes)?;
        }
        self.skipped(bytes.len() as u64);
        Ok(())
    }

    /// So many of the body's bytes came and were thrown away unseen.
    pub(super) fn skipped(&mut self, bytes: u64) {
        self.got += bytes;
        self.tally.bytes(bytes);
    }

    /// The response has ended cleanly.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        let path = || self.target.path.clone();
        if !self.is_answer() {
            return Err(Fault::Status {
                path: path(),
                status: self.status,
            });
        }
        if self.wish.head {
            return Ok(());
        }
        match self.announced.or(self.wanted()) {
            Some(of) if self.got < of => Err(self.short()),
            Some(wanted) if self.got > wanted => Err(self.wrong_length(self.got, wanted)),
            _ => Ok(()),
        }
    }

    /// That the response stopped where it is.
    pub(super) fn short(&self) -> Fault {
        Fault::Short {
            path: self.target.path.clone(),
            got: self.got,
            of: self.announced.or(self.wanted()).unwrap_or(0),
        }
    }

    /// Whether the body lacks bytes that were announced.
    pub(super) fn is_partial(&self) -> bool {
        self.announced.is_some_and(|all| self.got < all)
    }

    /// The object's size, from the answer to HEAD.
    pub(super) fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Status of the answer; 0 if none came.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// When it began, and when the first byte came.
    pub(super) fn times(&self) -> (Instant, Option<Instant>) {
        (self.began, self.first)
    }

    fn is_answer(&self) -> bool {
        self.status == if self.wish.range.is_some() { 206 } else { 200 }
    }

    fn wanted(&self) -> Option<u64> {
        let range = self.wish.range.as_ref().map(|r| r.end - r.start);
        range.or(self.target.size)
    }

    fn wrong_length(&self, got: u64, wanted: u64) -> Fault {
        Fault::Length {
            path: self.target.path.clone(),
            got,
            wanted,
        }
    }

    fn compare(&self, original: &Original, bytes: &[u8]) -> Result<(), Fault> {
        let at = self.wish.range.as_ref().map_or(0, |r| r.start) + self.got;
        let room = &mut *original.room.borrow_mut();
        room.resize(bytes.len().max(room.len()), 0);
        let there = &mut room[..bytes.len()];
        original
            .file
            .read_exact_at(there, at)
            .map_err(|why| Fault::Tree {
                path: self.target.path.clone(),
                why,
            })?;
        if there == bytes {
            return Ok(());
        }
        let same = there.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        Err(Fault::Differs {
            path: self.target.path.clone(),
            at: at + same as u64,
        })
    }
}
