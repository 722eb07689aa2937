//! One to many, in order: which members an owner has. One flat ordered set, since most owners have very few.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdSet;

/// Cheap to clone; clones share what is equal.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Index(OrdSet<(Arc<str>, Arc<str>)>);

impl Index {
    /// Moves a member from one owner to another; either may be none.
    pub fn shift(&mut self, member: &Arc<str>, from: Option<&Arc<str>>, to: Option<&Arc<str>>) {
        if from == to {
            return;
        }
        if let Some(owner) = from {
            self.0.remove(&(owner.clone(), member.clone()));
        }
        if let Some(owner) = to {
            self.0.insert((owner.clone(), member.clone()));
        }
    }

    /// The members of `owner` after one of them, in order.
    pub fn members<'a>(&'a self, owner: &str, after: Option<&str>) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
        let owner: Arc<str> = owner.into();
        // Ids are never empty, so this is before all of them.
        let start = (owner.clone(), after.unwrap_or_default().into());
        let range = (Bound::Excluded(start), Bound::Unbounded);
        self.0.range(range).take_while(move |(other, _)| *other == owner).map(|(_, member)| member)
    }
}
