//! Memory of a process that reads secrets: no core dump, no access by other users, and no text of a secret once it is
//! decoded.

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::geteuid;

use crate::support::{Launch, until};

/// An ordinary user. Files in `/proc` of a process of root belong to root in any case.
const NOBODY: u32 = 65_534;

/// Text that the daemon holds as long as it runs.
const LABEL: &str = "label-that-stays-in-memory";

/// A command that waits in the read of its first file. It runs as an ordinary user.
struct Waiting {
    child: Child,
    /// Keeps the command waiting.
    _writer: File,
}

/// A private copy of the binary, which every user may run, and a pipe for it to read.
struct Copy {
    directory: tempfile::TempDir,
    user: u32,
}

impl Copy {
    fn new() -> Self {
        let user = if geteuid().is_root() { NOBODY } else { geteuid().as_raw() };
        let copy = Self { directory: tempfile::tempdir().unwrap(), user };
        // Another process copies the file. A child that another test forks would inherit a file that this process
        // writes, and a file that is open for writing cannot be run.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_cleat")).arg(copy.binary()).status().unwrap();
        assert!(copied.success());
        mknodat(CWD, copy.pipe(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for path in [copy.directory.path(), &copy.pipe()] {
            chown(path, Some(user), None).unwrap();
        }
        copy
    }

    fn binary(&self) -> PathBuf {
        self.directory.path().join("cleat")
    }

    fn pipe(&self) -> PathBuf {
        self.directory.path().join("pipe")
    }

    /// Starts the binary with these words and the name of the pipe. It has opened the pipe when this returns.
    fn start(&self, words: &[&str]) -> Waiting {
        let mut command = Command::new("sh");
        command.args(["-c", r#"ulimit -Sc "$(ulimit -Hc)"; exec "$@""#, "sh"]).arg(self.binary());
        command.args(words).arg(self.pipe()).current_dir(self.directory.path()).stdin(Stdio::null());
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.spawn().unwrap();
        let mut writer = None;
        until("it opens the pipe", || {
            assert!(child.try_wait().unwrap().is_none(), "{words:?} ended");
            let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
            writer = File::options().write(true).custom_flags(nonblocking).open(self.pipe()).ok();
            writer.is_some()
        });
        Waiting { child, _writer: writer.unwrap() }
    }
}

impl Waiting {
    fn core_limit(&self) -> [String; 2] {
        core_limit(&format!("/proc/{}/limits", self.child.id()))
    }

    /// Owner of the process's `environ`. It is root if no other user may look into the process.
    fn owner_of_environment(&self) -> u32 {
        Path::new(&format!("/proc/{}/environ", self.child.id())).metadata().unwrap().uid()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Returns the soft limit and the hard limit.
fn core_limit(limits: &str) -> [String; 2] {
    let limits = std::fs::read_to_string(limits).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    [words.next().unwrap(), words.next().unwrap()]
}

#[test]
fn commands_that_read_secrets_forbid_core_dumps() {
    let copy = Copy::new();
    for words in
        [&["serve", "--config"][..], &["check-config", "--config"], &["send", "--body"], &["import", "--offline"]]
    {
        let waiting = copy.start(words);
        assert_eq!(waiting.core_limit(), ["0", "0"], "{words:?}");
        assert_eq!(waiting.owner_of_environment(), 0, "{words:?}");
    }
}

#[test]
fn core_dumps_are_left_as_they_are_if_asked_for() {
    let copy = Copy::new();
    let [_, hard] = core_limit("/proc/self/limits");
    let waiting = copy.start(&["serve", "--core-dumps", "--config"]);
    assert_eq!(waiting.core_limit(), [hard.clone(), hard]);
    assert_eq!(waiting.owner_of_environment(), copy.user);
}

#[test]
fn no_text_of_a_secret_stays_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    // Long secrets, so that later allocations of the daemon do not happen to overwrite them.
    let [plain, labelled, filed] =
        [(); 3].map(|()| STANDARD.encode((0..9_000).map(|_| rand::random()).collect::<Vec<u8>>()));
    let file = directory.path().join("old");
    std::fs::write(&file, format!("whsec_{filed}\n")).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let launch = Launch {
        endpoint: &format!("secret_files = [{file:?}]"),
        config: &format!(
            "[[webhooks.endpoints]]\nname = \"other\"\n\
             secrets = [\"whsec_{plain}\", {{ label = \"{LABEL}\", secret = \"whsec_{labelled}\" }}]"
        ),
        // Without this the memory could not be read, and the test would show nothing.
        core_dumps: true,
        // The allocator must not give freed memory back, which would clear it.
        env: &[("MIMALLOC_PURGE_DELAY", "-1")],
        ..Launch::new(directory.path())
    };
    let daemon = launch.start().ready();
    let [plain, labelled, filed] = [&plain, &labelled, &filed].map(|secret| &secret[6_000..6_040]);
    // The label shows that the search finds texts that are in memory.
    assert_eq!(held(daemon.pid(), &[LABEL, plain, labelled, filed]), [LABEL]);
}

/// Returns the texts found in memory that the process can write to, such as heaps and stacks. Reads only resident
/// pages: an allocator maps much more than it uses.
fn held<'a>(pid: u32, texts: &[&'a str]) -> Vec<&'a str> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let [memory, pagemap] = ["mem", "pagemap"].map(|name| File::open(format!("/proc/{pid}/{name}")).unwrap());
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut found = vec![false; texts.len()];
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        for (from, bytes) in resident(&pagemap, line) {
            assert!(Instant::now() < deadline, "the search takes too long: at {line}");
            let mut run = vec![0; bytes];
            // The stack of a thread that has ended meanwhile is gone.
            if memory.read_exact_at(&mut run, from).is_err() {
                continue;
            }
            let run = String::from_utf8_lossy(&run);
            for (found, text) in found.iter_mut().zip(texts) {
                *found = *found || run.contains(text);
            }
        }
    }
    texts.iter().zip(found).filter_map(|(text, found)| found.then_some(*text)).collect()
}

/// Returns the runs of resident pages of a mapping: the beginning and the length in bytes of each.
fn resident(pagemap: &File, mapping: &str) -> Vec<(u64, usize)> {
    const ENTRY_BYTES: usize = 8;
    const PRESENT: u64 = 1 << 63;
    let page = rustix::param::page_size();
    let (from, to) = mapping.split(' ').next().unwrap().split_once('-').unwrap();
    let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
    let pages = usize::try_from(to - from).unwrap() / page;
    let mut entries = vec![0; pages * ENTRY_BYTES];
    pagemap.read_exact_at(&mut entries, from / page as u64 * ENTRY_BYTES as u64).unwrap();
    #[expect(clippy::host_endian_bytes, reason = "the kernel writes them so")]
    let is_present = |entry: &[u8]| u64::from_ne_bytes(entry.try_into().unwrap()) & PRESENT != 0;
    let present: Vec<bool> = entries.chunks_exact(ENTRY_BYTES).map(is_present).collect();
    let mut at = from;
    let mut runs = Vec::new();
    for run in present.chunk_by(|one, next| one == next) {
        let bytes = run.len() * page;
        if run[0] {
            runs.push((at, bytes));
        }
        at += bytes as u64;
    }
    runs
}
