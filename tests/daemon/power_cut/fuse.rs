//! The disk as a file: a file system in user space with one file, `disk`. The kernel's fsync of it is the disk's sync.
//!
//! It knows nothing of the disk's contents.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use super::disk::Disk;

const TTL: Duration = Duration::from_secs(3600);
const FILE: INodeNo = INodeNo(2);

/// A disk shared with the code that cuts the power. One lock orders cuts, writes and acknowledgements.
#[derive(Clone)]
pub struct SharedDisk(Arc<Mutex<Disk>>);

impl SharedDisk {
    pub fn new(disk: Disk) -> Self {
        Self(Arc::new(Mutex::new(disk)))
    }

    pub fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }
}

/// A mounted disk. It is unmounted on drop.
pub struct DiskFile {
    pub path: PathBuf,
    session: Option<BackgroundSession>,
    directory: PathBuf,
}

impl DiskFile {
    pub fn mount(disk: SharedDisk, directory: &Path) -> std::io::Result<Self> {
        std::fs::create_dir(directory)?;
        let session = fuser::spawn_mount(OneFile(disk), directory, &Config::default())?;
        Ok(Self { path: directory.join("disk"), session: Some(session), directory: directory.to_owned() })
    }
}

impl Drop for DiskFile {
    fn drop(&mut self) {
        if let Some(Err(_)) = self.session.take().map(BackgroundSession::umount_and_join) {
            super::mount::detach(&self.directory);
        }
    }
}

struct OneFile(SharedDisk);

impl OneFile {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let (kind, perm) = if inode == FILE { (FileType::RegularFile, 0o600) } else { (FileType::Directory, 0o700) };
        FileAttr {
            ino: inode,
            size: if inode == FILE { self.0.lock().len() as u64 } else { 0 },
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl Filesystem for OneFile {
    fn lookup(&self, _: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == "disk" {
            reply.entry(&TTL, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(inode));
    }

    /// Opens the file without the page cache, which would hide writes from the disk.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        reply.data(&self.0.lock().read(index(offset), size as usize));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if self.0.lock().write(index(offset), data) {
            reply.written(u32::try_from(data.len()).unwrap());
        } else {
            reply.error(Errno::ENOSPC);
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.0.lock().sync();
        reply.ok();
    }
}
