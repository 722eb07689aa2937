//! Owns the shared copies of texts that many entities have: ids of the catalogue, platforms, scopes, reasons. Knows no
//! entity.

use std::collections::HashSet;
use std::sync::Arc;

use crate::event::{Attempt, Facts, Outcome, Report, ReportKind, Text};

/// Length above which texts are not shared: longer ones hardly repeat.
const WORD_BYTES_MAX: usize = 256;
/// Number of texts at which the set is cleared. So texts that are not of the catalogue do not accumulate.
const WORDS_MAX: usize = 64 * 1024;

#[derive(Default)]
pub struct Interner(HashSet<Arc<str>>);

impl Interner {
    /// Replaces a text by the equal one that is already in memory, or keeps it for later ones.
    pub fn share(&mut self, text: &mut Text) {
        let Some(known) = text else { return };
        if known.len() > WORD_BYTES_MAX {
            return;
        }
        if let Some(first) = self.0.get(known) {
            known.clone_from(first);
            return;
        }
        if self.0.len() == WORDS_MAX {
            self.0.clear();
        }
        self.0.insert(known.clone());
    }

    /// Shares the texts of a report, except links and those that belong to one patient, attempt or entity.
    pub fn share_report(&mut self, report: &mut Report) {
        match &mut report.kind {
            ReportKind::Attempt { status, facts, attempt } => {
                self.share(status);
                self.share_facts(facts);
                self.share_attempt(attempt);
            }
            ReportKind::Revocation { status, facts } => {
                self.share(status);
                self.share_facts(facts);
            }
            ReportKind::Export { org_id, outcome, .. } => {
                self.share(org_id);
                if let Outcome::Failed { reason } = outcome {
                    self.share(reason);
                }
            }
            ReportKind::Unknown => {}
        }
    }

    pub fn share_attempt(&mut self, attempt: &mut Attempt) {
        self.share(&mut attempt.scope);
    }

    pub fn share_facts(&mut self, facts: &mut Facts) {
        let Facts { external_id: _, platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id } =
            facts;
        let shared = [platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id];
        for text in shared {
            self.share(text);
        }
    }
}
