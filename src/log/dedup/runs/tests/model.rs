//! Sets of runs under random additions, gaps, merges and restarts, compared with a map.

use super::*;

/// Returns few digests, so that keys come again. Half of them have one of two prefixes, so that whole blocks begin
/// alike.
fn pool(random: &mut StdRng) -> Vec<Digest> {
    let digest = |number: usize| {
        let mut bytes: [u8; 16] = random.random();
        match number % 4 {
            0 => bytes[..8].fill(0x55),
            1 => bytes[..8].fill(0xaa),
            _ => {}
        }
        Digest::from_bytes(bytes)
    };
    (0..800).map(digest).collect()
}

struct World {
    directory: TempDir,
    random: StdRng,
    pool: Vec<Digest>,
    set: RunSet,
    /// First entry of each key in the runs.
    model: Model,
    through: Position,
}

impl World {
    /// Adds a run after the last one, or after a gap.
    fn add(&mut self) {
        let after = self.through + u64::from(self.random.random_ratio(1, 8));
        self.through = after + self.random.random_range(1..500);
        let mut entries = Vec::new();
        for position in after + 1..=self.through {
            let digest = self.pool[self.random.random_range(0..self.pool.len())];
            entries.push(KeyEntry { digest, position, fingerprint: Fingerprint(self.random.random()) });
        }
        let run = write_run(self.directory.path(), after, self.through, &entries);
        self.set = self.set.with(run).unwrap();
        for entry in entries {
            self.model.entry(entry.digest.to_bytes()).or_insert(entry);
        }
    }

    /// Merges the runs that are due, or else a few adjacent ones.
    fn merge(&mut self) {
        let runs = self.set.runs();
        let from = self.random.random_range(0..runs.len());
        let joined = runs[from..].windows(2).take_while(|pair| pair[0].span().through == pair[1].span().after).count();
        let range = due(runs).unwrap_or(from..from + 1 + joined);
        let inputs = runs[range].to_vec();
        if let [_] = inputs[..] {
            return;
        }
        let merged = merge(self.directory.path(), &inputs, &mut AtOnce).unwrap();
        self.set = self.set.with_merged(Arc::new(merged)).unwrap();
        if self.random.random() {
            remove(self.directory.path(), inputs.iter().map(|run| run.path())).unwrap();
        }
    }

    fn restart(&mut self) {
        let spans: Vec<_> = self.set.runs().iter().map(|run| run.span()).collect();
        let loaded = load(self.directory.path(), is_ours).unwrap();
        assert_eq!(loaded.set.runs().iter().map(|run| run.span()).collect::<Vec<_>>(), spans);
        assert!(loaded.unusable.is_empty());
        remove(self.directory.path(), loaded.covered.iter().map(PathBuf::as_path)).unwrap();
        assert_eq!(names(self.directory.path()).len(), spans.len());
        self.set = loaded.set;
    }

    fn check(&self) {
        for digest in &self.pool {
            let known = self.model.get(&digest.to_bytes()).copied();
            assert_eq!(self.set.find(*digest).unwrap(), known);
            assert!(known.is_none() || self.set.may_contain(*digest));
        }
        let uncovered: Vec<_> =
            self.set.gaps(self.through).iter().flat_map(|gap| gap.after + 1..=gap.through).collect();
        let is_covered = |position: &Position| {
            self.set.runs().iter().any(|run| (run.span().after + 1..=run.span().through).contains(position))
        };
        assert_eq!(uncovered, (1..=self.through).filter(|position| !is_covered(position)).collect::<Vec<_>>());
    }
}

#[test]
fn a_set_answers_as_a_map_does() {
    for seed in 0..3 {
        let mut random = StdRng::seed_from_u64(seed);
        let pool = pool(&mut random);
        let mut world = World {
            directory: tempfile::tempdir().unwrap(),
            random,
            pool,
            set: RunSet::default(),
            model: Model::new(),
            through: 0,
        };
        for _ in 0..24 {
            match world.random.random_range(0..6) {
                0..4 => world.add(),
                4 if !world.set.runs().is_empty() => world.merge(),
                _ => world.restart(),
            }
            world.check();
        }
        assert!(world.model.len() > 500);
    }
}
