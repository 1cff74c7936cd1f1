//! A slice of a file on its way from the drive: pieces are asked for in order and a few ahead, never beyond the slice. A
//! consumer that is slow to come back gets small pieces and none ahead, as does everybody when memory runs short or the
//! drive has enough to do, so that neither is spent on bytes that nobody waits for.

use super::{
    Disk, Loan, ReadError,
    access::Via,
    queue::{Demand, Ticket},
};
use crate::{
    files::OpenFile,
    sys::arena::{PIECE, SMALL, Size},
};
use oca_core::range::Slice;
use std::{
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// Most pieces under way for one slice.
const MOST_PIECES: usize = 4;
/// Pieces under way for a slice of which nothing was consumed yet.
const FIRST_PIECES: usize = 2;
/// A consumer that needs longer for a piece is slow.
const SLOW: Duration = Duration::from_millis(50);

/// A slice of a file that comes from the drive, piece by piece in order.
#[derive(Debug)]
pub struct ColdStream {
    disk: Rc<Disk>,
    file: Rc<OpenFile>,
    /// Offset of what was not asked for yet.
    next: u64,
    end: u64,
    under_way: VecDeque<Rc<Ticket>>,
    most: usize,
    delivered: Option<Instant>,
}

impl ColdStream {
    pub(super) fn new(disk: &Rc<Disk>, file: &Rc<OpenFile>, slice: Slice) -> Self {
        Self {
            disk: Rc::clone(disk),
            file: Rc::clone(file),
            next: slice.offset,
            end: slice.offset.saturating_add(slice.len),
            under_way: VecDeque::new(),
            most: FIRST_PIECES,
            delivered: None,
        }
    }

    /// The next piece, at least a byte; absent after the slice's end and after an error.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Loan, ReadError>>> {
        if let Some(delivered) = self.delivered.take() {
            let slow = delivered.elapsed() > SLOW;
            self.most = if slow { 1 } else { (self.most + 1).min(MOST_PIECES) };
        }
        self.ask_on();
        let Some(front) = self.under_way.front() else {
            return Poll::Ready(None);
        };
        let Poll::Ready(result) = front.poll(cx) else {
            return Poll::Pending;
        };
        self.under_way.pop_front();
        if let Ok(loan) = &result {
            self.file.access.draw(loan.len() as u64);
            self.delivered = Some(Instant::now());
            if self.most > 1 {
                self.ask_on();
            }
        } else {
            self.under_way.clear();
            self.next = self.end;
        }
        Poll::Ready(Some(result))
    }

    /// As [`poll_next`](Self::poll_next).
    pub async fn next(&mut self) -> Option<Result<Loan, ReadError>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn ask_on(&mut self) {
        while self.next < self.end {
            let spare = self.disk.queue.has_room(&self.file) && self.most > 1;
            let most = if spare { self.most } else { 1 };
            if self.under_way.len() >= most {
                break;
            }
            let few = self.end - self.next <= SMALL as u64;
            let size = if few || self.most == 1 || self.disk.queue.is_scarce() {
                Size::Small
            } else {
                Size::Whole
            };
            self.ask(size);
        }
    }

    fn ask(&mut self, size: Size) {
        let via = self.file.access.via(&self.file.file);
        // Whatever the way, pieces begin where O_DIRECT could read them: a refused way is then followed by the next one.
        let alignment = self.file.access.alignment(Via::Direct);
        let start = self.next / alignment * alignment;
        let end = self.end.min(start + size.bytes() as u64);
        let ticket = Rc::<Ticket>::default();
        self.under_way.push_back(Rc::clone(&ticket));
        self.disk.queue.add(Demand::new(
            ticket,
            Rc::clone(&self.file),
            via,
            start,
            (self.next - start) as usize..(end - start) as usize,
            size,
        ));
        self.next = end;
        debug_assert!(end - start <= PIECE as u64);
    }
}
