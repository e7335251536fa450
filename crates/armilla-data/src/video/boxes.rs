//! The boxes that an mp4 file is made of: finding one in a file, checking that they fit, and putting new ones together.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use crate::error::{Error, Result};

/// Bytes of a sample description, at most.
const LARGEST_DESCRIPTION: u64 = 1 << 20;
/// Bytes of all tables of a file, at most.
const LARGEST_INDEX: u64 = 1 << 28;
/// Frames of all tracks of a file, at most: 38 hours at 30 a second.
const MOST_FRAMES: u64 = 1 << 22;
/// The boxes with other boxes in them where the tables lie.
const CONTAINERS: [&[u8; 4]; 8] = [
    b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf",
];

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

/// Checks that boxes lie within each other and tables within bounds, so that a parser that believes them allocates no more
/// than some hundred bytes a frame.
pub(crate) fn check_index(path: &Path, file: &mut File, size: u64) -> Result<Tables> {
    let mut found = Tables::default();
    let mut rest = 0..size;
    while let Some((name, body, end)) = next(file, rest.clone()).map_err(Error::io("read", path))? {
        found.note(rest.start, &name);
        rest.start = end;
        // As much as a header, whatever the box is.
        found.bytes += 16;
        if matches!(&name, b"moov" | b"moof") {
            let problem = found
                .add(file, name, body)
                .map_err(Error::io("read", path))?;
            if let Some(problem) = problem {
                return Err(Error::file(path, problem));
            }
        }
    }
    if rest.end - rest.start >= 8 {
        let start = read(file, rest.start..rest.start + 4).map_err(Error::io("read", path))?;
        if matches!(start[..], [0, 0, 0, 2..8]) {
            let at = rest.start;
            return Err(Error::file(path, format!("no mp4 box begins at byte {at}")));
        }
    }
    Ok(found)
}

/// A file as its parser sees it. It ends in an error once more was read of it than it has to say, so that what goes round in
/// circles comes to an end; and boxes that matter to nobody here, whose sizes the parser believes, are named `free`.
pub(crate) struct Limited<R> {
    inner: R,
    left: u64,
    at: u64,
    hidden: Vec<u64>,
}

impl<R> Limited<R> {
    pub(crate) fn new(inner: R, tables: Tables) -> Self {
        Self {
            inner,
            // Some boxes are read twice.
            left: 3 * tables.bytes + (1 << 16),
            at: 0,
            hidden: tables.hidden,
        }
    }

    /// Names the hidden boxes among bytes that were read from a place on.
    fn hide(&self, from: u64, bytes: &mut [u8]) {
        let first = self.hidden.partition_point(|name| name + 4 <= from);
        let end = from + bytes.len() as u64;
        for name in self.hidden[first..].iter().take_while(|name| **name < end) {
            for (letter, at) in b"free".iter().zip(*name..) {
                let place = at.checked_sub(from).map(|place| place as usize);
                if let Some(byte) = place.and_then(|place| bytes.get_mut(place)) {
                    *byte = *letter;
                }
            }
        }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| std::io::Error::other("its boxes lead back to each other"))?;
        self.hide(self.at, &mut buffer[..read]);
        self.at += read as u64;
        Ok(read)
    }
}

impl<R: Seek> Seek for Limited<R> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.at = self.inner.seek(to)?;
        Ok(self.at)
    }

    fn stream_position(&mut self) -> std::io::Result<u64> {
        Ok(self.at)
    }
}

/// What was found in a file's tables so far.
#[derive(Default)]
pub(crate) struct Tables {
    bytes: u64,
    frames: u64,
    /// Places of the names of boxes that the parser must not look into.
    hidden: Vec<u64>,
}

impl Tables {
    /// Notes a box that begins at a place, if it is one to be hidden.
    fn note(&mut self, start: u64, name: &[u8; 4]) {
        if matches!(name, b"meta" | b"udta" | b"emsg") {
            self.hidden.push(start + 4);
        }
    }

    /// Adds a box; what is wrong with it otherwise.
    fn add(
        &mut self,
        file: &mut File,
        name: [u8; 4],
        body: Range<u64>,
    ) -> std::io::Result<Option<String>> {
        if matches!(&name, b"moov" | b"moof") {
            self.bytes += body.end - body.start;
        }
        if self.bytes > LARGEST_INDEX {
            let problem = format!("expected an index of up to {LARGEST_INDEX} bytes, found more");
            return Ok(Some(problem));
        }
        if CONTAINERS.contains(&&name) {
            let mut rest = body;
            while let Some((name, body, end)) = next(file, rest.clone())? {
                self.note(rest.start, &name);
                rest.start = end;
                if let Some(problem) = self.add(file, name, body)? {
                    return Ok(Some(problem));
                }
            }
            let name = String::from_utf8_lossy(&name).into_owned();
            let broken = !rest.is_empty();
            return Ok(broken.then(|| format!("the boxes in `{name}` do not fill it")));
        }
        // Version, flags and, of `stsz`, a size that all frames have come before their number.
        let before = match &name {
            b"stsz" => 8,
            b"trun" => 4,
            _ => return Ok(None),
        };
        if body.end - body.start >= before + 4 {
            let count = read(file, body.start + before..body.start + before + 4)?;
            let count = count
                .iter()
                .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
            self.frames = self.frames.saturating_add(count);
        }
        let many = self.frames > MOST_FRAMES;
        Ok(many.then(|| format!("expected up to {MOST_FRAMES} frames, found {}", self.frames)))
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::demux::VideoIndex;

    /// What is said of a file of these boxes.
    fn problem(boxes: &[Vec<u8>]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        std::fs::write(&path, boxes.concat()).unwrap();
        let error = VideoIndex::read(&path).unwrap_err().to_string();
        assert!(error.contains("a.mp4"), "{error}");
        error
    }

    fn nested(names: &[&[u8; 4]], inside: Vec<u8>) -> Vec<u8> {
        let names = names.iter().rev();
        names.fold(inside, |inside, name| plain(name, &[inside]))
    }

    #[test]
    fn a_box_without_a_size_does_not_hold_up_the_parser() {
        let brand = plain(b"ftyp", &[b"isom\0\0\0\0".to_vec()]);
        let endless = plain(b"moov", &[vec![0; 8]]);
        let error = problem(&[brand.clone(), endless]);
        assert!(error.contains("lead back to each other"), "{error}");
        let small = plain(b"moov", &[vec![0, 0, 0, 3, 0, 0, 0, 0]]);
        let error = problem(&[brand.clone(), small]);
        assert!(error.contains("`moov` do not fill it"), "{error}");
        let error = problem(&[brand, vec![0, 0, 0, 3, 0, 0, 0, 0]]);
        assert!(error.contains("no mp4 box begins at byte 16"), "{error}");
    }

    #[test]
    fn what_the_parser_need_not_see_is_hidden_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        // A box inside `meta` that says that it has more bytes than any memory.
        let huge = [&[0, 0, 0, 1][..], b"hdlr", &[0x66; 8], &[0; 8]].concat();
        let inside = plain(b"udta", &[plain(b"meta", &[huge])]);
        let bytes = [plain(b"moov", &[inside]), plain(b"emsg", &[vec![0; 9]])].concat();
        std::fs::write(&path, &bytes).unwrap();
        let mut file = File::open(&path).unwrap();
        let tables = check_index(&path, &mut file, bytes.len() as u64).unwrap();
        file.rewind().unwrap();
        let mut seen = vec![0; bytes.len()];
        let mut limited = Limited::new(file, tables);
        // In parts that cut the names.
        seen.chunks_mut(5)
            .for_each(|part| limited.read_exact(part).unwrap());
        let expected = String::from_utf8_lossy(&bytes)
            .replacen("udta", "free", 1)
            .replacen("emsg", "free", 1);
        assert_eq!(String::from_utf8_lossy(&seen), expected);
    }

    #[test]
    fn more_frames_than_anyone_records_are_refused() {
        let table = [b"moov", b"trak", b"mdia", b"minf", b"stbl"];
        // All frames of one size, so that no table says how many there can be.
        let sizes = versioned(b"stsz", (0, 0), &[9, u32::MAX]);
        let error = problem(&[nested(&table, sizes)]);
        assert!(error.contains("found 4294967295"), "{error}");
        let run = versioned(b"trun", (0, 0), &[1 << 23]);
        let error = problem(&[nested(&[b"moof", b"traf"], run)]);
        assert!(error.contains("found 8388608"), "{error}");
    }
}
