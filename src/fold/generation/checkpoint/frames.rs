//! Owns the framing of a long file: compressed frames, each with its checksum. Neither side holds more than one frame
//! in memory. Knows nothing of the entries.

use std::io::{self, Read, Write};

use crate::fold::generation::unusable::Unusable;
use crate::storage::{DecodeError, PLAIN, Put, Take, seal, unseal};

/// Size at which a frame is closed.
const FRAME_BYTES: usize = 256 * 1024;
/// Largest frame that the reader accepts. The writer exceeds [`FRAME_BYTES`] by at most one entry.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
const HEADER_BYTES: usize = 12;

pub struct FrameWriter<'a> {
    out: &'a mut dyn Write,
    frame: Vec<u8>,
}

impl<'a> FrameWriter<'a> {
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, frame: Vec::new() }
    }

    /// Appends the bytes that `write` puts. An entry is never split.
    pub fn write_entry(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        write(&mut self.frame);
        if self.frame.len() < FRAME_BYTES { Ok(()) } else { self.close() }
    }

    fn close(&mut self) -> io::Result<()> {
        let mut stored = Vec::new();
        seal(&PLAIN.pack(&self.frame), &mut stored);
        let mut header = Vec::with_capacity(HEADER_BYTES);
        for len in [self.frame.len(), stored.len()] {
            header.put_u32(u32::try_from(len).map_err(io::Error::other)?);
        }
        header.put_u32(crc32c::crc32c(&stored));
        self.out.write_all(&header)?;
        self.out.write_all(&stored)?;
        self.frame.clear();
        Ok(())
    }

    /// Ends the file with an empty frame: nothing follows.
    pub fn end(mut self) -> io::Result<()> {
        if !self.frame.is_empty() {
            self.close()?;
        }
        self.close()
    }
}

pub struct FrameReader<'a> {
    from: &'a mut dyn Read,
}

impl<'a> FrameReader<'a> {
    pub fn new(from: &'a mut dyn Read) -> Self {
        Self { from }
    }

    /// Returns the entries of the next frame. `None` if there are no more.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, Unusable> {
        let mut header = [0; HEADER_BYTES];
        self.from.read_exact(&mut header)?;
        let mut take = Take(&header);
        let expanded = take.u32()? as usize;
        let stored = take.u32()? as usize;
        let crc = take.u32()?;
        if expanded > FRAME_BYTES_MAX || stored > FRAME_BYTES_MAX {
            return Err(DecodeError("a frame is too large").into());
        }
        let mut bytes = vec![0; stored];
        self.from.read_exact(&mut bytes)?;
        if crc32c::crc32c(&bytes) != crc {
            return Err(DecodeError("a frame's checksum is wrong").into());
        }
        let packed = unseal(&bytes)?;
        let frame =
            PLAIN.unpack(packed, expanded).ok_or(DecodeError("a frame does not expand to the stated length"))?;
        Ok(if frame.is_empty() { None } else { Some(frame) })
    }
}
