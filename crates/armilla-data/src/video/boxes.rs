//! The boxes that an mp4 file is made of: finding one in a file, and putting new ones together.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::Path;

use crate::error::{Error, Result};

/// Bytes of a sample description, at most.
const LARGEST_DESCRIPTION: u64 = 1 << 20;

/// The description of the video's samples (`stsd`), which holds what a decoder must know before the first frame.
pub(crate) fn sample_description(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    let found = find_description(&mut file, size).map_err(Error::io("read", path))?;
    found.ok_or_else(|| Error::file(path, "there is no description of a video in it"))
}

fn find_description(file: &mut File, size: u64) -> std::io::Result<Option<Vec<u8>>> {
    let Some(movie) = find(file, 0..size, b"moov")? else {
        return Ok(None);
    };
    let mut rest = movie;
    while let Some((name, body, end)) = next(file, rest.clone())? {
        rest.start = end;
        if name != *b"trak" {
            continue;
        }
        let Some(media) = find(file, body, b"mdia")? else {
            continue;
        };
        let handler = find(file, media.clone(), b"hdlr")?;
        let handler = handler.map(|range| read(file, range.start..range.end.min(range.start + 12)));
        if handler
            .transpose()?
            .is_some_and(|bytes| bytes.ends_with(b"vide"))
        {
            return description_of(file, media);
        }
    }
    Ok(None)
}

fn description_of(file: &mut File, media: Range<u64>) -> std::io::Result<Option<Vec<u8>>> {
    let mut range = media;
    for name in [b"minf", b"stbl", b"stsd"] {
        match find(file, range, name)? {
            Some(inner) => range = inner,
            None => return Ok(None),
        }
    }
    if range.end - range.start > LARGEST_DESCRIPTION {
        return Ok(None);
    }
    read(file, range).map(|body| Some(plain(b"stsd", &[body])))
}

/// The inside of the first box of a name.
fn find(file: &mut File, range: Range<u64>, name: &[u8; 4]) -> std::io::Result<Option<Range<u64>>> {
    let mut rest = range;
    while let Some((found, body, end)) = next(file, rest.clone())? {
        if found == *name {
            return Ok(Some(body));
        }
        rest.start = end;
    }
    Ok(None)
}

/// The box at the beginning of a range: its name, its inside and its end.
type Found = ([u8; 4], Range<u64>, u64);

fn next(file: &mut File, range: Range<u64>) -> std::io::Result<Option<Found>> {
    if range.end < range.start + 8 {
        return Ok(None);
    }
    let header = read(file, range.start..range.end.min(range.start + 16))?;
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let name = [header[4], header[5], header[6], header[7]];
    let (head, size) = match word(0) {
        0 => (8, range.end - range.start),
        1 if header.len() == 16 => (16, u64::from(word(8)) << 32 | u64::from(word(12))),
        size => (8, u64::from(size)),
    };
    match range.start.checked_add(size) {
        Some(end) if size >= head && end <= range.end => {
            Ok(Some((name, range.start + head..end, end)))
        }
        _ => Ok(None),
    }
}

fn read(file: &mut File, range: Range<u64>) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    file.seek(SeekFrom::Start(range.start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A box around its parts.
pub(crate) fn plain(name: &[u8; 4], parts: &[Vec<u8>]) -> Vec<u8> {
    let size: usize = 8 + parts.iter().map(Vec::len).sum::<usize>();
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(&(size as u32).to_be_bytes());
    bytes.extend_from_slice(name);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

/// A box with a version and flags before its words of 32 bits.
pub(crate) fn versioned(name: &[u8; 4], (version, flags): (u8, u32), words: &[u32]) -> Vec<u8> {
    let head = u32::from(version) << 24 | flags;
    let words = [head].into_iter().chain(words.iter().copied());
    plain(name, &[words.flat_map(u32::to_be_bytes).collect()])
}

/// A number of 64 bits as two words.
pub(crate) fn wide(number: u64) -> [u32; 2] {
    [(number >> 32) as u32, number as u32]
}
