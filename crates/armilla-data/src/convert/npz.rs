//! The files of `numpy.savez`: a zip archive of one array, `arr_0.npy`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use crate::column::{Column, Element};
use crate::error::Error;

/// Bytes of one array, at most.
const LARGEST: usize = 1 << 32;
/// Texts of an array, at most: each takes more memory than it has letters.
const MOST_TEXTS: usize = 1 << 25;
/// Bytes of all texts of an array: Arrow counts them in 31 bits.
const LARGEST_TEXT: usize = 1 << 30;
/// Bytes of an array's header, at most.
const LARGEST_HEADER: usize = 1 << 16;

/// An array, values in row-major order.
#[derive(Debug)]
pub(super) struct Array {
    /// Sizes, the first axis first.
    pub(super) shape: Vec<usize>,
    /// The values.
    pub(super) values: Column,
}

/// Why an array is not read.
pub(super) enum Refused {
    /// It is whole, but of a kind that this crate has no use for.
    Kind(String),
    /// The file is broken.
    Broken(Error),
}

/// Reads the array of a file.
pub(super) fn read(path: &Path) -> std::result::Result<Array, Refused> {
    let broken = |problem: String| Refused::Broken(Error::file(path, problem));
    let file = File::open(path).map_err(|error| Refused::Broken(Error::io("read", path)(error)))?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|error| broken(format!("not an npz file: {error}")))?;
    let mut entry = archive
        .by_name("arr_0.npy")
        .map_err(|error| broken(format!("expected the array `arr_0`: {error}")))?;
    let header = Header::read(&mut entry).map_err(broken)?;
    if header.is_fortran && header.shape.len() > 1 {
        return Err(Refused::Kind("an array in Fortran order".to_owned()));
    }
    let size = header
        .size()
        .ok_or_else(|| Refused::Kind(format!("`{}` of shape {:?}", header.kind, header.shape)))?;
    let mut bytes = Vec::new();
    let taken = entry.by_ref().take(size as u64 + 1).read_to_end(&mut bytes);
    taken.map_err(|error| broken(format!("cannot be read: {error}")))?;
    if bytes.len() != size {
        let found = bytes.len();
        return Err(broken(format!(
            "expected {size} bytes of values, found {found} (a cut file?)"
        )));
    }
    Ok(Array {
        values: header.values(&bytes)?,
        shape: header.shape,
    })
}

/// What an array's header says.
struct Header {
    /// Type and bytes of a value, such as `f4`, without the order of bytes.
    kind: String,
    is_fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    fn read(reader: &mut impl Read) -> std::result::Result<Self, String> {
        let mut start = [0; 8];
        let failed = |error: std::io::Error| format!("the array's header: {error}");
        reader.read_exact(&mut start).map_err(failed)?;
        if &start[..6] != b"\x93NUMPY" {
            return Err("the array is not in numpy's format".to_owned());
        }
        let mut length = vec![0; if start[6] == 1 { 2 } else { 4 }];
        reader.read_exact(&mut length).map_err(failed)?;
        let length = length
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        if length > LARGEST_HEADER {
            return Err(format!("the array's header has {length} bytes"));
        }
        let mut text = vec![0; length];
        reader.read_exact(&mut text).map_err(failed)?;
        let text = String::from_utf8_lossy(&text);
        Self::parse(&text).ok_or_else(|| format!("the array's header is `{}`", text.trim()))
    }

    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }`.
    fn parse(text: &str) -> Option<Self> {
        let after = |name: &str| {
            text.split_once(name)
                .map(|(_, rest)| rest.trim_start_matches([' ', ':', '\'']))
        };
        let kind = after("'descr'")?.split(['\'', ',']).next()?;
        let shape = after("'shape'")?.strip_prefix('(')?.split_once(')')?.0;
        let sizes = shape
            .split(',')
            .map(str::trim)
            .filter(|size| !size.is_empty());
        let shape: std::result::Result<Vec<usize>, _> = sizes.map(str::parse).collect();
        if kind.starts_with('>') {
            return Some(Self {
                kind: kind.to_owned(),
                is_fortran: false,
                shape: shape.ok()?,
            });
        }
        Some(Self {
            kind: kind.trim_start_matches(['<', '|', '=']).to_owned(),
            is_fortran: after("'fortran_order'")?.starts_with("True"),
            shape: shape.ok()?,
        })
    }

    /// Bytes of a value.
    fn width(&self) -> Option<usize> {
        let (kind, size) = self.kind.split_at_checked(1)?;
        let size: usize = size.parse().ok()?;
        match (kind, size) {
            ("f", 4 | 8) | ("i" | "u", 1 | 2 | 4 | 8) | ("b", 1) => Some(size),
            ("U", 1..) => size.checked_mul(4),
            ("S", 1..) => Some(size),
            _ => None,
        }
    }

    /// Bytes of all values; none if they are too many or of a kind that is not read.
    fn size(&self) -> Option<usize> {
        let values = self
            .shape
            .iter()
            .try_fold(1_usize, |product, &size| product.checked_mul(size))?;
        let size = values.checked_mul(self.width()?)?;
        let is_text = self.kind.starts_with(['U', 'S']);
        let whole = size <= LARGEST && (!is_text || (values <= MOST_TEXTS && size <= LARGEST_TEXT));
        whole.then_some(size)
    }

    fn values(&self, bytes: &[u8]) -> std::result::Result<Column, Refused> {
        let refused = || Refused::Kind(format!("`{}`", self.kind));
        let width = self.width().ok_or_else(refused)?;
        let texts = |text: fn(&[u8]) -> String| {
            Column::from(bytes.chunks_exact(width).map(text).collect::<Vec<_>>())
        };
        Ok(match self.kind.as_str() {
            "f4" => numbers(bytes, f32::from_le_bytes),
            "f8" => numbers(bytes, f64::from_le_bytes),
            "i1" => numbers(bytes, i8::from_le_bytes),
            "i2" => numbers(bytes, i16::from_le_bytes),
            "i4" => numbers(bytes, i32::from_le_bytes),
            "i8" => numbers(bytes, i64::from_le_bytes),
            "u1" => numbers(bytes, u8::from_le_bytes),
            "u2" => numbers(bytes, u16::from_le_bytes),
            "u4" => numbers(bytes, u32::from_le_bytes),
            "u8" => numbers(bytes, u64::from_le_bytes),
            "b1" => Column::from(bytes.iter().map(|&byte| byte != 0).collect::<Vec<_>>()),
            kind if kind.starts_with('U') => texts(wide_text),
            kind if kind.starts_with('S') => texts(narrow_text),
            _ => return Err(refused()),
        })
    }
}

fn numbers<const WIDTH: usize, T: Element>(bytes: &[u8], read: fn([u8; WIDTH]) -> T) -> Column {
    Column::from(
        bytes
            .as_chunks::<WIDTH>()
            .0
            .iter()
            .map(|chunk| read(*chunk))
            .collect::<Vec<_>>(),
    )
}

/// Text of four bytes a character, filled up with zeros.
fn wide_text(bytes: &[u8]) -> String {
    let characters = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|chunk| u32::from_le_bytes(*chunk));
    let characters = characters.take_while(|&character| character != 0);
    characters
        .map(|character| char::from_u32(character).unwrap_or('\u{fffd}'))
        .collect()
}

/// Text of one byte a character, filled up with zeros.
fn narrow_text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn headers_are_read() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }   \n";
        let header = Header::parse(text).unwrap();
        assert_eq!(
            (header.shape.as_slice(), header.size()),
            (&[3, 2][..], Some(24))
        );
        let header =
            Header::parse("{'descr': '|b1', 'fortran_order': True, 'shape': (7,), }").unwrap();
        assert!(header.is_fortran && header.size() == Some(7));
        for odd in ["'>f4'", "'|O'", "'<f4'"] {
            let shape = if odd == "'<f4'" {
                "99999999999, 99999999999"
            } else {
                "1"
            };
            let text = format!("{{'descr': {odd}, 'fortran_order': False, 'shape': ({shape},), }}");
            assert_eq!(Header::parse(&text).unwrap().size(), None, "{text}");
        }
        assert!(Header::parse("{'shape': (-1,)}").is_none());
    }

    #[test]
    fn too_many_and_too_large_texts_are_refused() {
        let size = |kind: &str, shape: &[usize]| {
            let header = Header {
                kind: kind.to_owned(),
                is_fortran: false,
                shape: shape.to_vec(),
            };
            header.size()
        };
        assert_eq!(size("U4", &[3, 2]), Some(96));
        assert_eq!(size("S1", &[MOST_TEXTS]), Some(MOST_TEXTS));
        assert_eq!(size("S1", &[MOST_TEXTS + 1]), None, "too many");
        assert_eq!(size("S1024", &[1 << 20]), Some(LARGEST_TEXT));
        for kind in ["S1025", "U257"] {
            assert_eq!(size(kind, &[1 << 20]), None, "{kind} is too large");
        }
        // Numbers take no more memory than they have bytes.
        assert_eq!(size("f4", &[MOST_TEXTS + 1]), Some(4 * (MOST_TEXTS + 1)));
    }

    #[test]
    fn a_file_that_announces_too_many_texts_is_of_no_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("name.npz");
        let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        archive.start_file("arr_0.npy", options).unwrap();
        let text = "{'descr': '|S1', 'fortran_order': False, 'shape': (99999999,), }";
        let length = (text.len() as u16).to_le_bytes();
        let header = [&b"\x93NUMPY\x01\x00"[..], &length, text.as_bytes()].concat();
        archive.write_all(&header).unwrap();
        archive.finish().unwrap();
        let Err(Refused::Kind(kind)) = read(&path) else {
            panic!("it is read, or called broken");
        };
        assert_eq!(kind, "`S1` of shape [99999999]");
    }

    #[test]
    fn texts_lose_their_filling() {
        assert_eq!(wide_text(&[0xe4, 0, 0, 0, b'b', 0, 0, 0, 0, 0, 0, 0]), "äb");
        assert_eq!(narrow_text(b"ab\0\0"), "ab");
    }
}
