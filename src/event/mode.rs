//! Modes of Fasten, and whether an event may change state in one. Knows nothing of events.

/// The mode of Fasten that a fact belongs to. Live and test never mix. The numbers are stored; never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ApiMode {
    Live = 1,
    Test = 2,
}

impl ApiMode {
    pub fn stored(self) -> u8 {
        self as u8
    }

    pub fn from_stored(byte: u8) -> Option<Self> {
        [Self::Live, Self::Test].into_iter().find(|mode| *mode as u8 == byte)
    }
}

/// Whether an event may change state, and in which mode: the body's `api_mode` compared with its endpoint's. An event
/// without an applicable mode is kept, claims no key and changes nothing. It can be readmitted once its endpoint's mode
/// is corrected. The numbers are stored; never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ModeVerdict {
    Live = 1,
    Test = 2,
    /// The body names another mode than its endpoint expects.
    Mismatched = 3,
    /// Neither the body nor its endpoint names a known mode.
    Unknown = 4,
}

impl ModeVerdict {
    /// Compares the mode that the body names with `expected`, the endpoint's. `None` if the endpoint takes both modes.
    pub fn judge(named: Option<&str>, expected: Option<ApiMode>) -> Self {
        match (named, expected) {
            (Some("live"), None | Some(ApiMode::Live)) | (None, Some(ApiMode::Live)) => Self::Live,
            (Some("test"), None | Some(ApiMode::Test)) | (None, Some(ApiMode::Test)) => Self::Test,
            (Some(_), Some(_)) => Self::Mismatched,
            (_, None) => Self::Unknown,
        }
    }

    /// The mode whose state the event changes, if any.
    pub fn applies_to(self) -> Option<ApiMode> {
        match self {
            Self::Live => Some(ApiMode::Live),
            Self::Test => Some(ApiMode::Test),
            Self::Mismatched | Self::Unknown => None,
        }
    }

    pub fn from_stored(byte: u8) -> Option<Self> {
        [Self::Live, Self::Test, Self::Mismatched, Self::Unknown].into_iter().find(|verdict| *verdict as u8 == byte)
    }
}
