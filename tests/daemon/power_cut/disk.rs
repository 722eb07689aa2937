//! A disk in memory with a volatile cache: writes are durable only once synced, and a power cut loses the others.
//!
//! It knows nothing of files, mounts or writers.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const PAGE: usize = 4096;

/// Unsynced writes that a power cut keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Nothing,
    /// Keeps each piece of this many bytes with a chance of one half, chosen by the seed.
    Half {
        piece: usize,
        seed: u64,
    },
}

pub struct Disk {
    durable: Vec<u8>,
    /// Newest contents of pages written since the last sync.
    unsynced: BTreeMap<usize, Box<[u8; PAGE]>>,
    armed: Option<(u32, Keep)>,
    cut: Option<usize>,
}

impl Disk {
    /// Returns a disk of whole pages, all zero.
    pub fn blank(bytes: usize) -> Self {
        assert_eq!(bytes % PAGE, 0);
        Self { durable: vec![0; bytes], unsynced: BTreeMap::new(), armed: None, cut: None }
    }

    pub fn len(&self) -> usize {
        self.durable.len()
    }

    /// Returns the bytes last written, synced or not, also after a cut: a process that still runs must not see the
    /// past.
    pub fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        let end = self.len().min(offset + len);
        let mut bytes = self.durable[offset.min(end)..end].to_vec();
        for (page, from, to) in pages(offset, bytes.len()) {
            if let Some(newer) = self.unsynced.get(&page) {
                let at = page * PAGE + from - offset;
                bytes[at..at + to - from].copy_from_slice(&newer[from..to]);
            }
        }
        bytes
    }

    /// Writes bytes. Returns false if they do not fit.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        if offset + bytes.len() > self.len() {
            return false;
        }
        for (page, from, to) in pages(offset, bytes.len()) {
            let at = page * PAGE + from - offset;
            let durable = &self.durable[page * PAGE..(page + 1) * PAGE];
            let newest = self.unsynced.entry(page).or_insert_with(|| Box::new(durable.try_into().unwrap()));
            newest[from..to].copy_from_slice(&bytes[at..at + to - from]);
        }
        match &mut self.armed {
            Some((writes, keep)) if *writes <= 1 => {
                let keep = *keep;
                self.cut(keep);
            }
            Some((writes, _)) => *writes -= 1,
            None => {}
        }
        true
    }

    /// Number of pages written since the last sync.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Makes all writes durable. Has no effect after a cut.
    pub fn sync(&mut self) {
        if self.cut.is_some() {
            return;
        }
        for (page, bytes) in std::mem::take(&mut self.unsynced) {
            self.durable[page * PAGE..(page + 1) * PAGE].copy_from_slice(&bytes[..]);
        }
    }

    /// Cuts the power right after this many more writes, or at once if `writes` is 0.
    pub fn cut_after(&mut self, writes: u32, keep: Keep) {
        if writes == 0 {
            return self.cut(keep);
        }
        self.armed = Some((writes, keep));
    }

    /// Cuts the power. From here on, nothing becomes durable.
    fn cut(&mut self, keep: Keep) {
        self.armed = None;
        self.cut = Some(self.unsynced.len());
        let Keep::Half { piece, seed } = keep else { return };
        let mut random = StdRng::seed_from_u64(seed);
        for (page, bytes) in &self.unsynced {
            let durable = &mut self.durable[page * PAGE..(page + 1) * PAGE];
            for (kept, written) in durable.chunks_mut(piece).zip(bytes.chunks(piece)) {
                if random.random() {
                    kept.copy_from_slice(written);
                }
            }
        }
    }

    /// Number of pages that were not synced at the cut. `None` if the power was not cut.
    pub fn was_cut(&self) -> Option<usize> {
        self.cut
    }

    /// Restores the power. Only data that was durable at the cut is there.
    pub fn power_on(&mut self) {
        self.unsynced.clear();
        self.cut = None;
    }
}

/// Returns the pages that a range touches, with the touched part of each.
fn pages(offset: usize, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let end = offset + len;
    (offset / PAGE..end.div_ceil(PAGE)).map(move |page| {
        let start = page * PAGE;
        (page, offset.max(start) - start, end.min(start + PAGE) - start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 16 * PAGE;

    /// Returns a disk whose durable bytes are 0 and whose newest, unsynced bytes are 1.
    fn half_way() -> Disk {
        let mut disk = Disk::blank(SIZE);
        assert!(disk.write(0, &vec![1; SIZE]));
        disk
    }

    fn after_a_cut(mut disk: Disk, keep: Keep) -> Vec<u8> {
        disk.cut_after(0, keep);
        disk.power_on();
        disk.read(0, SIZE)
    }

    #[test]
    fn reads_give_what_was_last_written_over_the_bounds_of_pages() {
        let mut disk = Disk::blank(SIZE);
        assert!(disk.write(PAGE - 3, b"abcdef"));
        assert!(disk.write(PAGE - 1, b"XY"));
        assert_eq!(disk.read(PAGE - 4, 8), b"\0abXYef\0");
        disk.sync();
        assert_eq!(disk.read(PAGE - 4, 8), b"\0abXYef\0");
        assert!(!disk.write(SIZE - 1, b"ab"));
        assert_eq!(disk.read(SIZE - 1, 10), [0]);
    }

    #[test]
    fn a_cut_takes_what_was_not_synced_and_leaves_what_was() {
        let mut disk = half_way();
        disk.sync();
        assert!(disk.write(10, b"lost"));
        assert!(after_a_cut(disk, Keep::Nothing) == vec![1; SIZE]);
        assert!(after_a_cut(half_way(), Keep::Nothing) == vec![0; SIZE]);
    }

    #[test]
    fn writes_after_the_cut_are_read_until_power_on_but_not_durable() {
        let mut disk = half_way();
        disk.cut_after(0, Keep::Nothing);
        assert_eq!(disk.was_cut(), Some(SIZE / PAGE));
        disk.sync();
        assert!(disk.write(0, b"after"));
        disk.sync();
        assert_eq!(disk.read(0, 6), b"after\x01");
        disk.power_on();
        assert!(disk.read(0, SIZE) == vec![0; SIZE] && disk.was_cut().is_none());
        assert!(disk.write(0, b"again"));
        disk.sync();
        assert_eq!(after_a_cut(disk, Keep::Nothing)[..5], *b"again");
    }

    #[test]
    fn an_armed_cut_comes_with_the_write_it_was_set_for() {
        let mut disk = Disk::blank(SIZE);
        disk.cut_after(2, Keep::Half { piece: SIZE, seed: 0 });
        assert!(disk.write(0, b"one"));
        assert_eq!(disk.was_cut(), None);
        disk.sync();
        assert!(disk.write(PAGE, b"two"));
        assert_eq!(disk.was_cut(), Some(1));
    }

    #[test]
    fn tearing_cut_keeps_about_half_the_pieces_whole_by_its_seed() {
        for piece in [512, PAGE] {
            let torn = after_a_cut(half_way(), Keep::Half { piece, seed: 7 });
            let kept = torn.chunks(piece).filter(|bytes| bytes.iter().all(|byte| *byte == 1)).count();
            let lost = torn.chunks(piece).filter(|bytes| bytes.iter().all(|byte| *byte == 0)).count();
            let all = SIZE / piece;
            assert!(kept + lost == all && kept >= all / 4 && lost >= all / 4, "{piece}: {kept} and {lost} of {all}");
            assert!(torn == after_a_cut(half_way(), Keep::Half { piece, seed: 7 }));
            assert!(torn != after_a_cut(half_way(), Keep::Half { piece, seed: 8 }));
        }
    }
}
