//! Which files are lent from memory instead of copied. That pays only for what is sent again and again, and only what stays in
//! memory may be lent: a page that had to be fetched when it is sent would stop the worker. So what the plan keeps in memory is lent,
//! and where nobody knows the demand, what was sent a few times over is held from then on, within a budget.

use crate::{files::OpenFile, sys::mapping::Mapping};
use bytes::Bytes;
use std::{
    cell::{Cell, OnceCell},
    rc::Rc,
    sync::Arc,
};

/// How often over a file must be sent before it is held.
const SENT: u64 = 2;
/// Most bytes of files that a worker holds for being sent often.
const BUDGET: u64 = 64 << 20;

/// One worker's lending.
#[derive(Debug)]
pub struct Lender {
    /// Bytes that may still be held.
    budget: Rc<Cell<u64>>,
}

impl Default for Lender {
    fn default() -> Self {
        Self {
            budget: Rc::new(Cell::new(BUDGET)),
        }
    }
}

impl Lender {
    /// All of the file's bytes, if they may be lent; `want` bytes are asked for now.
    pub fn mapped<'a>(&self, file: &'a OpenFile, want: u64) -> Option<&'a Bytes> {
        let lent = &file.access.lent;
        if let Some(loan) = lent.loan.get() {
            return loan.as_ref().filter(|l| !l.mapping.is_broken()).map(|l| &l.bytes);
        }
        lent.sent.set(lent.sent.get().saturating_add(want));
        let held_already = file.access.is_kept();
        let often = file.access.is_unknown() && lent.sent.get() / SENT >= file.size;
        let worth_it = held_already || (often && file.size <= self.budget.get());
        if !worth_it {
            return None;
        }
        let taken = Taken::new(&self.budget, if held_already { 0 } else { file.size });
        let loan = lent.loan.get_or_init(|| {
            let mapping = Mapping::new(&file.file, file.size, !held_already);
            let mapping = Arc::new(
                mapping
                    .inspect_err(|error| tracing::debug!(%error, "not lent"))
                    .ok()?,
            );
            let bytes = Bytes::from_owner(Owner(Arc::clone(&mapping)));
            Some(Loan {
                bytes,
                mapping,
                _taken: taken,
            })
        });
        loan.as_ref().map(|l| &l.bytes)
    }
}

/// What is known of a file's lending.
#[derive(Debug, Default)]
pub struct Lent {
    /// Bytes sent so far.
    sent: Cell<u64>,
    /// Absent inside = it cannot be mapped.
    loan: OnceCell<Option<Loan>>,
}

impl Lent {
    pub(super) fn is_broken(&self) -> bool {
        let loan = self.loan.get().and_then(Option::as_ref);
        loan.is_some_and(|l| l.mapping.is_broken())
    }
}

#[derive(Debug)]
struct Loan {
    bytes: Bytes,
    mapping: Arc<Mapping>,
    _taken: Taken,
}

struct Owner(Arc<Mapping>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

/// A part of the budget, given back with the file.
#[derive(Debug)]
struct Taken {
    budget: Rc<Cell<u64>>,
    bytes: u64,
}

impl Taken {
    fn new(budget: &Rc<Cell<u64>>, bytes: u64) -> Self {
        budget.set(budget.get() - bytes);
        Self {
            budget: Rc::clone(budget),
            bytes,
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.budget.set(self.budget.get() + self.bytes);
    }
}
