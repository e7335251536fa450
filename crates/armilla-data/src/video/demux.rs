//! What an mp4 file holds: its codec, and each frame's bytes and time.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use re_mp4::{FourCC, Mp4, StsdBoxContent, Track};

use super::boxes::{Limited, check_index};
use crate::error::{Error, Result};

/// How the frames are coded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Codec {
    /// H.264: the parameter sets with start codes, and the bytes of a length prefix.
    H264 {
        parameters: Vec<u8>,
        length_bytes: usize,
    },
    /// AV1: the sequence header.
    Av1 { header: Vec<u8> },
    /// One that is not decoded here, but can be copied: its name and its decoder's parameters.
    Other { name: String, parameters: Vec<u8> },
}

impl Codec {
    /// Its name, as LeRobot writes it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::H264 { .. } => "h264",
            Self::Av1 { .. } => "av1",
            Self::Other { name, .. } => name,
        }
    }
}

/// One frame, in decode order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// When it is shown, in time units, edit list applied; negative if never.
    pub(crate) time: i64,
    /// Whether decoding can begin here.
    pub(crate) is_key: bool,
}

/// A video file's index; the pictures stay on disk.
#[derive(Debug)]
pub(crate) struct VideoIndex {
    pub(crate) path: PathBuf,
    pub(crate) codec: Codec,
    pub(crate) packets: Vec<Packet>,
    /// Packet numbers in the order in which they are shown.
    pub(crate) shown: Vec<usize>,
    /// Time units a second.
    pub(crate) timescale: u64,
}

impl VideoIndex {
    /// Reads a whole file's index.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let (index, size) = Self::read_cut(path)?;
        let end = |packet: &Packet| packet.offset.saturating_add(packet.size);
        match index.packets.iter().map(end).find(|end| *end > size) {
            Some(end) => {
                let problem = format!("a frame ends at byte {end} of {size}");
                Err(cut(path, problem))
            }
            None => Ok(index),
        }
    }

    /// Reads the index of a file that may have been cut, and the file's size: frames that end beyond it are lost.
    pub(crate) fn read_cut(path: &Path) -> Result<(Self, u64)> {
        let mut file = File::open(path).map_err(Error::io("read", path))?;
        let size = file.metadata().map_err(Error::io("read", path))?.len();
        let whole_size = size_before_cut(&mut file, size).map_err(Error::io("read", path))?;
        let tables = check_index(path, &mut file, size)?;
        file.rewind().map_err(Error::io("read", path))?;
        // The parser indexes tables without checks; a broken file must not end the process.
        let mp4 = Error::caught(path, || {
            let reader = Limited::new(BufReader::new(file), tables);
            Mp4::read(reader, whole_size).map_err(|error| cut(path, error))
        })?;
        // The first, whose description `sample_description` gives too.
        let mut tracks = mp4.moov.traks.iter();
        let track = tracks
            .find(|track| track.mdia.hdlr.handler_type == FourCC { value: *b"vide" })
            .and_then(|track| mp4.tracks().get(&track.tkhd.track_id))
            .ok_or_else(|| Error::file(path, "there is no video in it"))?;
        let index = Self::of_track(path, &mp4, track)?;
        // Frames that share bytes would need more memory than the file has.
        let sizes = index.packets.iter().map(|packet| packet.size);
        let bytes = sizes.fold(0, u64::saturating_add);
        if bytes > whole_size {
            let problem = format!("its frames have {bytes} bytes, the file {whole_size}");
            return Err(cut(path, problem));
        }
        Ok((index, size))
    }

    fn of_track(path: &Path, mp4: &Mp4, track: &Track) -> Result<Self> {
        let (delay, skipped) = edits(mp4, track);
        let packets: Vec<_> = track
            .samples
            .iter()
            .map(|sample| Packet {
                offset: sample.offset,
                size: sample.size,
                time: sample
                    .composition_timestamp
                    .saturating_add(delay)
                    .saturating_sub(skipped),
                is_key: sample.is_sync,
            })
            .collect();
        let mut shown: Vec<_> = (0..packets.len())
            .filter(|&i| packets[i].time >= 0)
            .collect();
        shown.sort_by_key(|&i| packets[i].time);
        Ok(Self {
            path: path.to_owned(),
            codec: codec(path, mp4, track)?,
            packets,
            shown,
            timescale: track.timescale.max(1),
        })
    }

    /// The position in `shown` of a packet's frame; none if it is never shown.
    pub(crate) fn position(&self, packet: usize) -> Option<usize> {
        let time = self.packets[packet].time;
        let from = self
            .shown
            .partition_point(|&shown| self.packets[shown].time < time);
        let alike = self.shown[from..].iter();
        let mut alike = alike.take_while(|&&shown| self.packets[shown].time == time);
        alike
            .position(|&shown| shown == packet)
            .map(|after| from + after)
    }

    /// The position in `shown` of the frame nearest to a time, and how far off it is, in seconds.
    pub(crate) fn nearest(&self, secs: f64) -> Option<(usize, f64)> {
        let time = |position: usize| {
            self.packets[self.shown[position]].time as f64 / self.timescale as f64
        };
        let after = self.shown.partition_point(|&packet| {
            (self.packets[packet].time as f64 / self.timescale as f64) < secs
        });
        [after.checked_sub(1), Some(after)]
            .into_iter()
            .flatten()
            .filter(|&position| position < self.shown.len())
            .map(|position| (position, (time(position) - secs).abs()))
            .min_by(|left, right| left.1.total_cmp(&right.1))
    }

    /// The positions in `shown` of frames that follow each other at a constant rate from a time on.
    pub(crate) fn frames(
        &self,
        from_secs: f64,
        length: usize,
        fps: u32,
        what: &str,
    ) -> Result<std::ops::Range<usize>> {
        let frame_secs = 1.0 / f64::from(fps);
        let last_secs = from_secs + frame_secs * length.saturating_sub(1) as f64;
        let close = |secs: f64| {
            let nearest = self
                .nearest(secs)
                .filter(|(_, off)| *off < frame_secs / 4.0);
            nearest.map(|(position, _)| position)
        };
        let range = close(from_secs)
            .zip(close(last_secs))
            .map(|(a, b)| a..b + 1);
        match range {
            Some(range) if range.len() == length => Ok(range),
            found => Err(Error::file(
                &self.path,
                format!(
                    "expected {length} frames of {what} at {fps} a second from {from_secs:.3} s on, found {} (a cut file?)",
                    found.map_or_else(|| "fewer".to_owned(), |range| range.len().to_string())
                ),
            )),
        }
    }

    /// Frames a second, on average; none of a single frame.
    pub(crate) fn rate_hz(&self) -> Option<f64> {
        let time = |packet: Option<&usize>| packet.map(|&packet| self.packets[packet].time);
        let lasts = time(self.shown.last())? - time(self.shown.first())?;
        let frames = self.shown.len().saturating_sub(1) as f64;
        (lasts > 0).then(|| frames * self.timescale as f64 / lasts as f64)
    }

    /// Bytes of the frames at some positions of the order in which they are shown.
    pub(crate) fn bytes_of(&self, shown: &std::ops::Range<usize>) -> u64 {
        let packets = self.shown[shown.clone()].iter();
        packets.map(|&packet| self.packets[packet].size).sum()
    }

    /// The bytes of some packets that follow each other.
    pub(crate) fn read_packets(&self, packets: std::ops::Range<usize>) -> Result<Vec<Vec<u8>>> {
        let mut file = File::open(&self.path).map_err(Error::io("read", &self.path))?;
        let mut read = |packet: &Packet| {
            let mut data = vec![0; packet.size as usize];
            file.seek(SeekFrom::Start(packet.offset))?;
            file.read_exact(&mut data)?;
            Ok(data)
        };
        let found: std::io::Result<_> = self.packets[packets].iter().map(&mut read).collect();
        found.map_err(Error::io("read", &self.path))
    }
}

/// The size that a file had before it was cut within its pictures (a last box `mdat` that ends beyond it); the parser
/// would refuse it otherwise. The size that it has, if it was not cut there.
fn size_before_cut(file: &mut File, size: u64) -> std::io::Result<u64> {
    let mut at = 0_u64;
    while size.saturating_sub(at) >= 16 {
        let mut head = [0; 16];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut head)?;
        let [.., a, b, c, d, e, f, g, h] = head;
        let length = match u32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
            1 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            short => u64::from(short),
        };
        let end = at.saturating_add(length);
        if end > size && head[4..8] == *b"mdat" {
            at = end;
            break;
        }
        if length < 8 || end > size {
            break;
        }
        at = end;
    }
    file.rewind()?;
    Ok(at.max(size))
}

fn cut(path: &Path, problem: impl std::fmt::Display) -> Error {
    Error::file(
        path,
        format!("not a whole mp4 file (cut short?): {problem}"),
    )
}

/// What the edit list says: time to wait before the first frame, and time of the media that is not shown.
///
/// The parser gives times that begin at 0; edit lists count from the media's own beginning.
fn edits(mp4: &Mp4, track: &Track) -> (i64, i64) {
    let Some(list) = track
        .trak(mp4)
        .edts
        .as_ref()
        .and_then(|edts| edts.elst.as_ref())
    else {
        return (0, 0);
    };
    let empty = if list.version == 1 {
        u64::MAX
    } else {
        u64::from(u32::MAX)
    };
    let (mut delay, mut skipped) = (0, 0);
    let media_start = track
        .samples
        .first()
        .map_or(0, |sample| sample.decode_timestamp.saturating_neg());
    for entry in &list.entries {
        if entry.media_time == empty {
            let movie = u64::from(mp4.moov.mvhd.timescale.max(1));
            let duration = entry.segment_duration.saturating_mul(track.timescale) / movie;
            delay = i64::saturating_add(delay, i64::try_from(duration).unwrap_or(i64::MAX));
        } else {
            let begins = i64::try_from(entry.media_time).unwrap_or(i64::MAX);
            skipped = begins.saturating_sub(media_start.max(0)).max(0);
            break;
        }
    }
    (delay, skipped)
}

fn codec(path: &Path, mp4: &Mp4, track: &Track) -> Result<Codec> {
    let contents = &track.trak(mp4).mdia.minf.stbl.stsd.contents;
    match contents {
        StsdBoxContent::Avc1(avc1) => {
            let avcc = &avc1.avcc.contents;
            let sets = avcc
                .sequence_parameter_sets
                .iter()
                .chain(&avcc.picture_parameter_sets);
            let mut parameters = Vec::new();
            for set in sets {
                parameters.extend_from_slice(&START_CODE);
                parameters.extend_from_slice(&set.bytes);
            }
            Ok(Codec::H264 {
                parameters,
                length_bytes: usize::from(avcc.length_size_minus_one & 3) + 1,
            })
        }
        StsdBoxContent::Av01(av01) => Ok(Codec::Av1 {
            header: av01.av1c.contents.config_obus.clone(),
        }),
        StsdBoxContent::Unknown(name) => Err(unsupported(path, &name.to_string())),
        other => Ok(Codec::Other {
            name: other.codec_string().unwrap_or_default(),
            parameters: track.raw_codec_config(mp4).unwrap_or_default(),
        }),
    }
}

/// The refusal of a codec, with what to do.
pub(crate) fn unsupported(path: &Path, codec: &str) -> Error {
    Error::Unsupported {
        what: path.display().to_string(),
        found: format!("video codec `{codec}`"),
        supported: "AV1 and H.264 (8 bits, 4:2:0); encode it anew with `lerobot-edit-dataset \
                    --operation.type reencode_videos`, or `ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p -g 2 OUT`"
            .to_owned(),
    }
}

/// What precedes each unit of an H.264 stream outside mp4.
pub(crate) const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Replaces the length before each unit by a start code.
pub(crate) fn with_start_codes(
    path: &Path,
    mut data: &[u8],
    length_bytes: usize,
    stream: &mut Vec<u8>,
) -> Result<()> {
    while !data.is_empty() {
        let unit = data
            .split_at_checked(length_bytes)
            .and_then(|(length, rest)| {
                let length = length
                    .iter()
                    .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
                rest.split_at_checked(length)
            });
        let Some((unit, rest)) = unit else {
            return Err(Error::file(path, "an H.264 unit is longer than its frame"));
        };
        stream.extend_from_slice(&START_CODE);
        stream.extend_from_slice(unit);
        data = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_become_start_codes() {
        let mut stream = Vec::new();
        let path = Path::new("a.mp4");
        with_start_codes(path, &[0, 2, 7, 8, 0, 1, 9], 2, &mut stream).unwrap();
        assert_eq!(stream, [0, 0, 0, 1, 7, 8, 0, 0, 0, 1, 9]);
        let error = with_start_codes(path, &[0, 9, 7], 2, &mut stream).unwrap_err();
        assert!(error.to_string().contains("a.mp4"), "{error}");
    }
}
