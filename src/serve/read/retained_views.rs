//! Old views that are still needed: for the next pages of lists, and for watches that have not read their snapshot yet.
//! Knows nothing of their readers.
//!
//! An old view keeps every version that was replaced since. So no other code holds one for longer than it takes to read
//! a part: a slow reader loses its snapshot, and costs others nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::event::Position;
use crate::fold::Views;

const PAGES_KEPT: Duration = Duration::from_secs(60);
const PAGES_KEPT_MAX: usize = 16;
const LOAN_MAX: Duration = Duration::from_secs(300);
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct RetainedViews(Mutex<KeptViews>);

/// Views on loan. Emptied when the time is up, even if a [`Loan`] still refers to them.
type Lent = Mutex<Option<Arc<Views>>>;

#[derive(Default)]
struct KeptViews {
    /// Views of list pages, in order of expiry.
    pages: VecDeque<(Instant, Arc<Views>)>,
    loans: Vec<(Instant, Weak<Lent>)>,
}

/// Views on loan, for a bounded time.
#[derive(Clone)]
pub struct Loan(Arc<Lent>);

impl Loan {
    /// Returns the views. `None` if the time is up.
    pub fn views(&self) -> Option<Arc<Views>> {
        self.0.lock().clone()
    }
}

impl RetainedViews {
    /// Keeps the views for the next page.
    pub fn keep(&self, views: &Arc<Views>) {
        let mut kept = self.0.lock();
        kept.pages.retain(|(_, page)| page.position() != views.position());
        kept.pages.push_back((Instant::now() + PAGES_KEPT, views.clone()));
        if kept.pages.len() > PAGES_KEPT_MAX {
            kept.pages.pop_front();
        }
    }

    /// Returns the views of this position. `None` if they are no longer kept.
    pub fn kept(&self, position: Position) -> Option<Arc<Views>> {
        let kept = self.0.lock();
        kept.pages.iter().find(|(_, views)| views.position() == position).map(|(_, views)| views.clone())
    }

    pub fn lend(&self, views: Arc<Views>) -> Loan {
        let loan = Arc::new(Mutex::new(Some(views)));
        self.0.lock().loans.push((Instant::now() + LOAN_MAX, Arc::downgrade(&loan)));
        Loan(loan)
    }

    /// Releases expired views and loans once per [`SWEEP_INTERVAL`]. Never returns.
    pub async fn sweep(&self) -> Infallible {
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            interval.tick().await;
            self.release(Instant::now());
        }
    }

    fn release(&self, now: Instant) {
        let mut kept = self.0.lock();
        kept.pages.retain(|(until, _)| *until > now);
        kept.loans.retain(|(until, loan)| {
            if *until > now {
                return loan.strong_count() > 0;
            }
            if let Some(loan) = loan.upgrade() {
                loan.lock().take();
            }
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::Fold;

    #[test]
    fn a_snapshot_is_let_go_when_its_time_is_up() {
        let snapshots = RetainedViews::default();
        let views = Fold::new(1).publish();
        snapshots.keep(&views);
        let loan = snapshots.lend(views.clone());
        let dropped = snapshots.lend(views.clone());
        drop(dropped);

        snapshots.release(Instant::now() + PAGES_KEPT - Duration::from_secs(1));
        assert!(snapshots.kept(0).is_some() && loan.views().is_some());
        assert_eq!(snapshots.0.lock().loans.len(), 1);

        snapshots.release(Instant::now() + LOAN_MAX);
        assert!(snapshots.kept(0).is_none() && loan.views().is_none());
        assert_eq!(Arc::strong_count(&views), 1);
    }
}
