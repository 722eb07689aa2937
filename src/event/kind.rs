//! The type of an event as a number. The header of a record has it, so that readers need not open the private bytes.
//! Knows the words for the types that Fasten documents, and nothing of their meaning.

/// The type of an event. The numbers are stored; never reuse one. A number from a newer version is kept as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(u16);

impl Kind {
    /// No type, or one that is not listed here. Its word is in the body.
    pub const UNKNOWN: Self = Self(0);
    pub const CONNECTION_SUCCESS: Self = Self(1);
    pub const EHI_EXPORT_SUCCESS: Self = Self(2);
    pub const EHI_EXPORT_FAILED: Self = Self(3);
    pub const AUTHORIZATION_REVOKED: Self = Self(4);
    pub const REQUEST_HEALTH_SYSTEM: Self = Self(5);
    pub const REQUEST_SUPPORT: Self = Self(6);
    pub const WEBHOOK_TEST: Self = Self(7);
    /// The log's own record of an erasure. No word names it.
    pub const ERASED: Self = Self(0xffff);

    /// The kind for a body's `type`.
    pub fn of_word(word: Option<&str>) -> Self {
        match word {
            Some("patient.connection_success") => Self::CONNECTION_SUCCESS,
            Some("patient.ehi_export_success") => Self::EHI_EXPORT_SUCCESS,
            Some("patient.ehi_export_failed") => Self::EHI_EXPORT_FAILED,
            Some("patient.authorization_revoked") => Self::AUTHORIZATION_REVOKED,
            Some("patient.request_health_system") => Self::REQUEST_HEALTH_SYSTEM,
            Some("patient.request_support") => Self::REQUEST_SUPPORT,
            Some("webhook.test") => Self::WEBHOOK_TEST,
            _ => Self::UNKNOWN,
        }
    }

    pub const fn stored(self) -> u16 {
        self.0
    }

    pub const fn from_stored(number: u16) -> Self {
        Self(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_its_number_and_any_other_is_unknown() {
        let words = [
            "patient.connection_success",
            "patient.ehi_export_success",
            "patient.ehi_export_failed",
            "patient.authorization_revoked",
            "patient.request_health_system",
            "patient.request_support",
            "webhook.test",
        ];
        for (number, word) in (1..).zip(words) {
            assert_eq!(Kind::of_word(Some(word)).stored(), number, "{word}");
        }
        for word in [None, Some(""), Some("erased"), Some("Webhook.test")] {
            assert_eq!(Kind::of_word(word), Kind::UNKNOWN);
        }
        assert_eq!(Kind::from_stored(0xffff), Kind::ERASED);
    }
}
