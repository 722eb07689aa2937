//! Texts that many entities have in common, once in memory: the catalogue's ids, platforms, scopes, reasons.

use std::collections::HashSet;
use std::sync::Arc;

use crate::event::{Attempt, Facts, Outcome, Report, Text, Told};

/// Longer ones are hardly shared.
const WORD_BYTES_MAX: usize = 256;
/// Then it begins anew: what is no catalogue does not pile up.
const WORDS_MAX: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct Words(HashSet<Arc<str>>);

impl Words {
    /// The same text, in memory where an equal one is already.
    pub(super) fn share(&mut self, text: &mut Text) {
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

    /// All texts of a report but those that say whom it is of.
    pub(super) fn share_report(&mut self, report: &mut Report) {
        match &mut report.told {
            Told::Attempt { status, facts, attempt } => {
                self.share(status);
                self.share_facts(facts);
                self.share_attempt(attempt);
            }
            Told::Revocation { status, facts } => {
                self.share(status);
                self.share_facts(facts);
            }
            Told::Export { org_id, outcome, .. } => {
                self.share(org_id);
                if let Outcome::Failed { reason } = outcome {
                    self.share(reason);
                }
            }
            Told::Unknown => {}
        }
    }

    pub(super) fn share_attempt(&mut self, attempt: &mut Attempt) {
        self.share(&mut attempt.scope);
    }

    pub(super) fn share_facts(&mut self, facts: &mut Facts) {
        let Facts { external_id: _, platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id } =
            facts;
        let shared = [platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id];
        for text in shared {
            self.share(text);
        }
    }
}
