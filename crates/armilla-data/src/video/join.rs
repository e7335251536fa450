//! Joins videos of the same camera into one mp4 without encoding anew, whatever their codec.
//!
//! The file has its index in front, frames at a constant rate, and an edit list when frames are shown in another order
//! than they are decoded in.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::boxes::{plain, sample_description, versioned, wide};
use super::demux::{Codec, VideoIndex};
use crate::error::{Error, Result};

/// Time units from one frame to the next.
const FRAME_UNITS: u64 = 1000;
/// Without rotation, scaling or shear.
const IDENTITY: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// An mp4 being joined from others; nothing is written before [`VideoJoiner::finish`].
pub(crate) struct VideoJoiner<'a> {
    path: &'a Path,
    codec: Codec,
    description: Vec<u8>,
    height: usize,
    width: usize,
    fps: u32,
    parts: Vec<Part>,
    frames: u64,
    bytes: u64,
}

/// Frames that follow each other in one file.
struct Part {
    source: PathBuf,
    samples: Vec<Sample>,
}

/// One frame, in decode order.
struct Sample {
    offset: u64,
    size: u32,
    is_key: bool,
    /// Frames by which it is shown later than it is decoded; negative if earlier.
    later: i64,
}

impl<'a> VideoJoiner<'a> {
    /// Begins a file, for videos coded like `first`.
    pub(crate) fn create(
        path: &'a Path,
        first: &VideoIndex,
        (height, width): (usize, usize),
        fps: u32,
    ) -> Result<Self> {
        Ok(Self {
            path,
            codec: first.codec.clone(),
            description: sample_description(&first.path)?,
            height,
            width,
            fps,
            parts: Vec::new(),
            frames: 0,
            bytes: 0,
        })
    }

    /// Whether a video can be joined: its decoder's parameters must be the same.
    pub(crate) fn fits(&self, index: &VideoIndex) -> bool {
        self.codec == index.codec
    }

    /// Bytes of pictures so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Time after the last frame so far, in seconds.
    pub(crate) fn end_secs(&self) -> f64 {
        self.frames as f64 / f64::from(self.fps)
    }

    /// Appends the frames at some positions of the order in which they are shown.
    pub(crate) fn append(&mut self, index: &VideoIndex, shown: &Range<usize>) -> Result<()> {
        let packets = packets(index, shown)?;
        let mut samples = Vec::with_capacity(packets.len());
        let mut positions = vec![0; packets.len()];
        for (position, packet) in index.shown[shown.clone()].iter().enumerate() {
            positions[packet - packets.start] = position;
        }
        for (decoded, (packet, position)) in
            index.packets[packets].iter().zip(positions).enumerate()
        {
            samples.push(Sample {
                offset: packet.offset,
                size: u32::try_from(packet.size)
                    .map_err(|error| Error::file(&index.path, error))?,
                is_key: packet.is_key,
                later: position as i64 - decoded as i64,
            });
            self.bytes += packet.size;
        }
        self.frames += samples.len() as u64;
        self.parts.push(Part {
            source: index.path.clone(),
            samples,
        });
        Ok(())
    }

    /// Writes the file and brings it to the disk.
    pub(crate) fn finish(self) -> Result<()> {
        let file = File::create(self.path).map_err(Error::io("create", self.path))?;
        let mut writer = BufWriter::new(file);
        let brands = [
            *b"isom",
            512_u32.to_be_bytes(),
            *b"isom",
            *b"iso2",
            *b"mp41",
        ];
        let mut front = plain(b"ftyp", &[brands.concat()]);
        let data_head = media_head(self.bytes);
        // The index is as long whatever the places in it are.
        let begins = front.len() + self.movie(0).len() + data_head.len();
        front.extend(self.movie(begins as u64));
        front.extend(data_head);
        writer
            .write_all(&front)
            .map_err(Error::io("write", self.path))?;
        for part in &self.parts {
            copy(part, &mut writer, self.path)?;
        }
        let file = writer
            .into_inner()
            .map_err(|error| Error::io("write", self.path)(error.into_error()))?;
        file.sync_all().map_err(Error::io("sync", self.path))
    }

    fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.parts.iter().flat_map(|part| &part.samples)
    }

    /// The index, for data that begins at a place.
    fn movie(&self, begins: u64) -> Vec<u8> {
        let units = FRAME_UNITS as u32 * self.fps;
        let [long, duration] = wide(self.frames * FRAME_UNITS);
        let [width, height] = [self.width, self.height].map(|side| (side as u32) << 16);
        let delay = self
            .samples()
            .map(|sample| -sample.later)
            .max()
            .unwrap_or(0)
            .max(0) as u64;
        let mut header = vec![
            0,
            0,
            0,
            0,
            units,
            long,
            duration,
            0x1_0000,
            0x0100_0000,
            0,
            0,
        ];
        header.extend(IDENTITY);
        header.extend([0, 0, 0, 0, 0, 0, 2]);
        let mut track = vec![0, 0, 0, 0, 1, 0, long, duration, 0, 0, 0, 0];
        track.extend(IDENTITY);
        track.extend([width, height]);
        let [skip, skipped] = wide(delay * FRAME_UNITS);
        let edit = versioned(
            b"elst",
            (1, 0),
            &[1, long, duration, skip, skipped, 0x1_0000],
        );
        let name: Vec<u8> = [&[0; 8][..], b"vide", &[0; 12], b"VideoHandler\0"].concat();
        let media = [
            // The language is "undetermined".
            versioned(
                b"mdhd",
                (1, 0),
                &[0, 0, 0, 0, units, long, duration, 0x55c4_0000],
            ),
            plain(b"hdlr", &[name]),
            plain(b"minf", &[media_info(), self.sample_table(begins, delay)]),
        ];
        let track = [
            versioned(b"tkhd", (1, 3), &track),
            plain(b"edts", &[edit]),
            plain(b"mdia", &media),
        ];
        plain(
            b"moov",
            &[versioned(b"mvhd", (1, 0), &header), plain(b"trak", &track)],
        )
    }

    fn sample_table(&self, begins: u64, delay: u64) -> Vec<u8> {
        let frames = self.frames as u32;
        let mut table = vec![
            self.description.clone(),
            versioned(b"stts", (0, 0), &[1, frames, FRAME_UNITS as u32]),
        ];
        if self.samples().any(|sample| sample.later != 0) {
            let offsets = self
                .samples()
                .map(|sample| (sample.later + delay as i64) as u32 * FRAME_UNITS as u32);
            table.push(runs(b"ctts", offsets));
        }
        let keys = self.samples().zip(1..).filter(|(sample, _)| sample.is_key);
        table.push(list(b"stss", keys.map(|(_, number)| number)));
        let chunks = self
            .parts
            .iter()
            .zip(1..)
            .flat_map(|(part, number)| [number, part.samples.len() as u32, 1]);
        let chunks: Vec<u32> = [self.parts.len() as u32]
            .into_iter()
            .chain(chunks)
            .collect();
        table.push(versioned(b"stsc", (0, 0), &chunks));
        let sizes = self.samples().map(|sample| sample.size);
        let sizes: Vec<u32> = [0, frames].into_iter().chain(sizes).collect();
        table.push(versioned(b"stsz", (0, 0), &sizes));
        let mut place = begins;
        let places: Vec<u64> = self
            .parts
            .iter()
            .map(|part| {
                let at = place;
                place += part
                    .samples
                    .iter()
                    .map(|sample| u64::from(sample.size))
                    .sum::<u64>();
                at
            })
            .collect();
        let places = places.into_iter().flat_map(wide);
        let places: Vec<u32> = [self.parts.len() as u32]
            .into_iter()
            .chain(places)
            .collect();
        table.push(versioned(b"co64", (0, 0), &places));
        plain(b"stbl", &table)
    }
}

/// The packets of frames that are shown one after the other; they must be decodable by themselves.
pub(crate) fn packets(index: &VideoIndex, shown: &Range<usize>) -> Result<Range<usize>> {
    let wanted = &index.shown[shown.clone()];
    let first = wanted.iter().min().copied().unwrap_or(0);
    let end = wanted.iter().max().map_or(0, |last| last + 1);
    let begins = index.packets.get(first).is_some_and(|packet| packet.is_key);
    if begins && end - first == wanted.len() {
        return Ok(first..end);
    }
    Err(Error::Unsupported {
        what: index.path.display().to_string(),
        found: "cutting frames out of this video, which do not begin at a key frame,".to_owned(),
        supported: "episodes that begin at a key frame of their video, as LeRobot records them"
            .to_owned(),
    })
}

fn media_head(bytes: u64) -> Vec<u8> {
    let mut head = vec![0, 0, 0, 1];
    head.extend_from_slice(b"mdat");
    head.extend_from_slice(&(bytes + 16).to_be_bytes());
    head
}

fn media_info() -> Vec<u8> {
    let here = versioned(b"url ", (0, 1), &[]);
    let mut references = versioned(b"dref", (0, 0), &[1]);
    references.extend(&here);
    let size = (references.len() as u32).to_be_bytes();
    references[..4].copy_from_slice(&size);
    [
        versioned(b"vmhd", (0, 1), &[0, 0]),
        plain(b"dinf", &[references]),
    ]
    .concat()
}

/// A list of words with its length.
fn list(name: &[u8; 4], words: impl Iterator<Item = u32>) -> Vec<u8> {
    let words: Vec<u32> = words.collect();
    versioned(name, (0, 0), &[&[words.len() as u32], &words[..]].concat())
}

/// A list of how often a word comes in a row.
fn runs(name: &[u8; 4], words: impl Iterator<Item = u32>) -> Vec<u8> {
    let mut runs: Vec<[u32; 2]> = Vec::new();
    for word in words {
        match runs.last_mut() {
            Some([count, last]) if *last == word => *count += 1,
            _ => runs.push([1, word]),
        }
    }
    let words = [&[runs.len() as u32], runs.concat().as_slice()].concat();
    versioned(name, (0, 0), &words)
}

/// Copies a part's frames to the end of what was written for `target`.
fn copy(part: &Part, writer: &mut impl Write, target: &Path) -> Result<()> {
    let file = File::open(&part.source).map_err(Error::io("read", &part.source))?;
    let mut reader = BufReader::new(file);
    let mut frame = Vec::new();
    for sample in &part.samples {
        frame.clear();
        let taken = reader.seek(SeekFrom::Start(sample.offset)).and_then(|_| {
            reader
                .by_ref()
                .take(u64::from(sample.size))
                .read_to_end(&mut frame)
        });
        let read = taken.map_err(Error::io("read", &part.source))?;
        if read != sample.size as usize {
            return Err(Error::file(
                &part.source,
                "a frame lies beyond the end of the file",
            ));
        }
        writer
            .write_all(&frame)
            .map_err(Error::io("write", target))?;
    }
    Ok(())
}
