//! The newest refused deliveries, for an operator: time, endpoint, reason and size. Never their contents, which are not
//! verified. Knows neither the code that refuses nor the readers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::event::Timestamp;

/// Number of rejections kept for each reason. Older ones are dropped, and a restart drops all; the metrics count all of
/// them.
pub const KEPT_PER_REASON: usize = 100;

/// One refused delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    pub at: Timestamp,
    /// Names of its endpoint and tenant, as configured. `None` if there is no such endpoint.
    pub endpoint: Option<(String, String)>,
    /// The same word as in the metrics.
    pub reason: &'static str,
    /// Length of the body. 0 if it was not read to its end.
    pub body_bytes: usize,
}

/// One ring for each reason, so a flood of one reason displaces only its own. Cheap to clone; all clones share the
/// rings.
#[derive(Clone, Default)]
pub struct Rejections(Arc<Mutex<KeptRejections>>);

#[derive(Default)]
struct KeptRejections {
    next_number: u64,
    /// Bounded, since the reasons are constants in the code.
    by_reason: BTreeMap<&'static str, VecDeque<(u64, Rejected)>>,
}

impl Rejections {
    pub fn push(&self, rejected: Rejected) {
        let mut kept = self.0.lock();
        let number = kept.next_number;
        kept.next_number += 1;
        let ring = kept.by_reason.entry(rejected.reason).or_default();
        if ring.len() == KEPT_PER_REASON {
            ring.pop_front();
        }
        ring.push_back((number, rejected));
    }

    /// Rejections at the tenant's endpoints, and those at no endpoint, the newest first.
    pub fn of(&self, tenant: &str) -> Vec<Rejected> {
        let kept = self.0.lock();
        let of_tenant = |(_, rejected): &&(u64, Rejected)| {
            rejected.endpoint.as_ref().is_none_or(|(_, its_tenant)| its_tenant == tenant)
        };
        let mut found: Vec<_> = kept.by_reason.values().flatten().filter(of_tenant).collect();
        found.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        found.into_iter().map(|(_, rejected)| rejected.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(at: i64, tenant: Option<&str>, reason: &'static str) -> Rejected {
        let endpoint = tenant.map(|tenant| ("fasten".to_owned(), tenant.to_owned()));
        Rejected { at: Timestamp::from_micros(at), endpoint, reason, body_bytes: 7 }
    }

    fn times(rejections: &Rejections, tenant: &str) -> Vec<i64> {
        rejections.of(tenant).iter().map(|rejected| rejected.at.as_micros()).collect()
    }

    #[test]
    fn each_tenant_sees_its_own_and_those_of_no_endpoint() {
        let rejections = Rejections::default();
        for (at, tenant) in [Some("acme"), Some("other"), None].into_iter().enumerate() {
            rejections.push(rejected(i64::try_from(at).unwrap(), tenant, "signature_mismatch"));
        }
        assert_eq!((times(&rejections, "acme"), times(&rejections, "other")), (vec![2, 0], vec![2, 1]));
        assert_eq!(rejections.of("acme")[1], rejected(0, Some("acme"), "signature_mismatch"));
    }

    #[test]
    fn a_flood_of_one_reason_pushes_out_only_its_own() {
        let rejections = Rejections::default();
        rejections.push(rejected(0, Some("acme"), "signature_mismatch"));
        for at in 1..=1000 {
            rejections.push(rejected(at, None, "unknown_endpoint"));
        }
        rejections.push(rejected(1001, Some("acme"), "body_slow"));
        let expected: Vec<i64> = [1001].into_iter().chain((901..=1000).rev()).chain([0]).collect();
        assert_eq!(times(&rejections, "acme"), expected);
    }
}
