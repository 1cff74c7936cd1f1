//! The worker's view of the wall clock: the `Date` field and the log's time stamps, formatted once a second.

use std::{
    cell::{Cell, RefCell},
    time::{SystemTime, UNIX_EPOCH},
};

/// Caches the text of the current second.
#[derive(Debug, Default)]
pub struct Clock {
    second: Cell<u64>,
    text: RefCell<String>,
}

impl Clock {
    /// Now.
    pub fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Calls `with` with the current time as an HTTP-date (RFC 9110 §5.6.7).
    pub fn http_date<R>(&self, with: impl FnOnce(&str) -> R) -> R {
        let now = self.now();
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        if self.second.replace(second) != second || self.text.borrow().is_empty() {
            *self.text.borrow_mut() = httpdate::fmt_http_date(now);
        }
        with(&self.text.borrow())
    }
}
