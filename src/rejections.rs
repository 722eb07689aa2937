//! The newest deliveries that were refused, for an operator to look at: when, where, why and how large. Never what was in them:
//! nobody vouches for it. Knows neither who refuses nor who looks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::Timestamp;

/// Older ones are forgotten, and so are all by a restart: the metrics have counted them.
pub const KEPT_MAX: usize = 1000;

/// One delivery of which nothing was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    pub at: Timestamp,
    /// Its endpoint and that one's tenant, both as configured. None: there is no such endpoint.
    pub endpoint: Option<(String, String)>,
    /// The same word as in the metrics.
    pub reason: &'static str,
    /// As far as the body was read.
    pub body_bytes: usize,
}

#[derive(Clone, Default)]
pub struct Rejections(Arc<Mutex<VecDeque<Rejected>>>);

impl Rejections {
    pub fn push(&self, rejected: Rejected) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(rejected);
    }

    /// Of a tenant's endpoints, and of none, the newest first.
    pub fn of(&self, tenant: &str) -> Vec<Rejected> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_tenant = |it: &&Rejected| it.endpoint.as_ref().is_none_or(|(_, its)| its == tenant);
        kept.iter().rev().filter(of_tenant).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(at: i64, tenant: Option<&str>) -> Rejected {
        let endpoint = tenant.map(|tenant| ("fasten".to_owned(), tenant.to_owned()));
        Rejected { at: Timestamp::from_micros(at), endpoint, reason: "signature_mismatch", body_bytes: 7 }
    }

    #[test]
    fn the_newest_are_kept_and_each_tenant_sees_its_own_and_those_of_no_endpoint() {
        let rejections = Rejections::default();
        for at in 0..2 * i64::try_from(KEPT_MAX).unwrap() {
            rejections.push(rejected(at, [Some("acme"), Some("other"), None][usize::try_from(at).unwrap() % 3]));
        }
        let seen = rejections.of("acme");
        let times: Vec<_> = seen.iter().map(|it| it.at.as_micros()).collect();
        let expected: Vec<_> = (1000..2000).rev().filter(|at| at % 3 != 1).collect();
        assert_eq!(times, expected);
        assert_eq!((&seen[0], &seen[1]), (&rejected(1998, Some("acme")), &rejected(1997, None)));
    }
}
