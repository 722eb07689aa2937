//! Texts that many entities have in common, once in memory: the catalogue's ids, platforms, scopes, reasons.

use std::collections::HashSet;
use std::sync::Arc;

use super::entity::Text;

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
}
