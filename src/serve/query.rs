//! Lists and their parts: filters, orders, pages, and the scan of one bounded part. Knows nothing of the services.

mod event_filter;
pub mod filter;
mod order;
pub mod page_token;
pub mod scan;

pub use event_filter::EventFilter;
pub use filter::{ConnectionFilter, ExportFilter, FilterHasher, Use};
pub use order::{Order, RowPlace};
pub use page_token::PageToken;
pub use scan::{ScanLimits, Scanned};
