//! What the footer and the pages of a parquet file say of themselves, looked at before a reader believes it and allocates.
//!
//! Footers and page headers are Thrift's compact protocol (`parquet.thrift` of apache/parquet-format): fields of a type and a number, of which three
//! matter here.

use std::io::{BufReader, Read, Seek, SeekFrom};

use parquet::file::metadata::ColumnChunkMetaData;

/// Values of one page, at most.
const MOST_VALUES: i64 = 1 << 25;
/// How many times larger than in the file a page may be. Snappy reaches 22.
const LARGEST_RATIO: i64 = 32;
/// Bytes that a page may have whatever its size in the file.
const SMALL: i64 = 1 << 16;
/// Structures within structures in a header, at most.
const DEPTH: u32 = 8;
/// The same in a footer.
const FOOTER_DEPTH: u32 = 16;
/// What stands at the end of a file, after the footer's length in so many bytes.
const TAIL: &[u8] = b"PAR1";
const LENGTH: u64 = 4;

/// Checks every page of a column in a row group; what is wrong with one otherwise.
pub(crate) fn check(file: impl Read + Seek, column: &ColumnChunkMetaData) -> Result<(), String> {
    let start = column
        .dictionary_page_offset()
        .unwrap_or(column.data_page_offset());
    let (start, size) = (
        u64::try_from(start),
        u64::try_from(column.compressed_size()),
    );
    let (Ok(start), Ok(mut rest)) = (start, size) else {
        return Err("a column has no place".to_owned());
    };
    // Headers are small, and what lies between them is passed over.
    let mut reader = BufReader::with_capacity(512, file);
    reader.seek(SeekFrom::Start(start)).map_err(cut)?;
    while rest > 0 {
        let mut header = reader.by_ref().take(rest);
        let page = Page::read(&mut header)?;
        rest = header.limit();
        page.check()?;
        let size = page.compressed.unsigned_abs();
        rest = rest
            .checked_sub(size)
            .ok_or("a page ends after its column")?;
        reader.seek_relative(page.compressed).map_err(cut)?;
    }
    Ok(())
}

/// Checks that a file's footer holds as much as it says: the reader makes room for its lists by their lengths alone.
pub(crate) fn check_footer(mut file: impl Read + Seek) -> Result<(), String> {
    let size = file.seek(SeekFrom::End(0)).map_err(cut)?;
    let Some(end) = size.checked_sub(TAIL.len() as u64 + LENGTH) else {
        return Ok(()); // Not a parquet file, as the reader will say.
    };
    let mut tail = [0; 8];
    file.seek(SeekFrom::Start(end)).map_err(cut)?;
    file.read_exact(&mut tail).map_err(cut)?;
    let (length, magic) = tail.split_at(LENGTH as usize);
    let length = length
        .iter()
        .rev()
        .fold(0, |all, &byte| all << 8 | u64::from(byte));
    let (true, Some(start)) = (magic == TAIL, end.checked_sub(length)) else {
        return Ok(());
    };
    file.seek(SeekFrom::Start(start)).map_err(cut)?;
    let mut footer = BufReader::new(file).take(length);
    // An element of a list has a byte at least, so a list that is walked to its end is no longer than the footer.
    Header(&mut footer).skip(STRUCT, FOOTER_DEPTH)
}

fn cut(error: std::io::Error) -> String {
    format!("a header: {error}")
}

/// What is taken from a header.
#[derive(Debug, Default, PartialEq)]
struct Page {
    uncompressed: i64,
    compressed: i64,
    values: i64,
}

impl Page {
    fn read(reader: &mut impl Read) -> Result<Self, String> {
        let mut page = Self::default();
        let mut header = Header(reader);
        let mut number = 0;
        while let Some(kind) = header.field(&mut number)? {
            match (number, kind) {
                (2, INTEGER) => page.uncompressed = header.integer()?,
                (3, INTEGER) => page.compressed = header.integer()?,
                // Of data, of a dictionary, and of data in the second version.
                (5 | 7 | 8, STRUCT) => page.values = header.first_integer()?,
                _ => header.skip(kind, DEPTH)?,
            }
        }
        Ok(page)
    }

    fn check(&self) -> Result<(), String> {
        let Self {
            uncompressed,
            compressed,
            values,
        } = *self;
        if uncompressed < 0 || compressed < 0 {
            return Err(format!("a page of {uncompressed} bytes"));
        }
        let largest = compressed.saturating_mul(LARGEST_RATIO).max(SMALL);
        if uncompressed > largest {
            return Err(format!(
                "expected a page of up to {largest} bytes, since it has {compressed} in the file, found {uncompressed}"
            ));
        }
        if !(0..=MOST_VALUES).contains(&values) {
            return Err(format!(
                "expected up to {MOST_VALUES} values in a page, found {values}"
            ));
        }
        Ok(())
    }
}

const BYTE: u8 = 3;
const INTEGER: u8 = 5;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const STRUCT: u8 = 12;

/// A structure being read.
struct Header<'a, R>(&'a mut R);

impl<R: Read> Header<'_, R> {
    fn byte(&mut self) -> Result<u8, String> {
        let mut byte = [0];
        self.0.read_exact(&mut byte).map_err(cut)?;
        Ok(byte[0])
    }

    /// A number of seven bits a byte.
    fn varint(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a header: a number without an end".to_owned())
    }

    fn integer(&mut self) -> Result<i64, String> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// The next field's type, and its number in place of the one before; none at the end.
    fn field(&mut self, number: &mut i64) -> Result<Option<u8>, String> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        *number = match byte >> 4 {
            0 => self.integer()?,
            step => number.saturating_add(i64::from(step)),
        };
        Ok(Some(byte & 0x0f))
    }

    /// The field 1 of a structure, an integer; the rest is passed over.
    fn first_integer(&mut self) -> Result<i64, String> {
        let (mut found, mut number) = (0, 0);
        while let Some(kind) = self.field(&mut number)? {
            match (number, kind) {
                (1, INTEGER) => found = self.integer()?,
                _ => self.skip(kind, DEPTH)?,
            }
        }
        Ok(found)
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Result<(), String> {
        let depth = depth.checked_sub(1).ok_or("a header is too deep")?;
        match kind {
            // Truth values are in the type.
            1 | 2 => Ok(()),
            BYTE => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            DOUBLE => self.pass(8),
            BINARY => {
                let length = self.varint()?;
                self.pass(length)
            }
            9 | 10 => {
                let byte = self.byte()?;
                let length = match byte >> 4 {
                    15 => self.varint()?,
                    short => u64::from(short),
                };
                (0..length).try_for_each(|_| match byte & 0x0f {
                    // In lists they take a byte.
                    1 | 2 => self.byte().map(drop),
                    kind => self.skip(kind, depth),
                })
            }
            STRUCT => {
                let mut number = 0;
                while let Some(kind) = self.field(&mut number)? {
                    self.skip(kind, depth)?;
                }
                Ok(())
            }
            other => Err(format!("a header: a field of the unknown type {other}")),
        }
    }

    fn pass(&mut self, bytes: u64) -> Result<(), String> {
        let passed = std::io::copy(&mut self.0.by_ref().take(bytes), &mut std::io::sink());
        match passed.map_err(cut)? {
            passed if passed == bytes => Ok(()),
            _ => Err("a header is cut short".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_by_hand() {
        // Type 0, 300 bytes of which 20 are in the file, a page of 5 values in encoding 0 with statistics of one binary.
        let bytes = [
            0x15, 0, 0x15, 0xd8, 0x04, 0x15, 40, 0x2c, 0x15, 10, 0x15, 0, 0x3c, 0x18, 2, 7, 7, 0,
            0, 0, 99,
        ];
        let mut rest = &bytes[..];
        let page = Page::read(&mut rest).unwrap();
        let expected = Page {
            uncompressed: 300,
            compressed: 20,
            values: 5,
        };
        assert_eq!((page, rest), (expected, &[99][..]));
        for cut in 1..bytes.len() - 1 {
            Page::read(&mut &bytes[..cut]).unwrap_err();
        }
    }

    #[test]
    fn a_footer_whose_lists_are_longer_than_itself_is_refused() {
        let file = |footer: &[u8]| {
            let length = (footer.len() as u32).to_le_bytes();
            [b"PAR1", footer, &length, TAIL].concat()
        };
        let check = |bytes: Vec<u8>| check_footer(std::io::Cursor::new(bytes));
        // Field 5, a list of two structures of which each holds one short text.
        let whole = [0x59, 0x2c, 0x18, 1, b'a', 0, 0x18, 1, b'b', 0, 0];
        check(file(&whole)).unwrap();
        let mut longer = whole.to_vec();
        longer[1] = 0xfc; // The length follows: some 150 million.
        longer.splice(2..2, [0xff, 0xff, 0xff, 0x47]);
        assert!(check(file(&longer)).unwrap_err().contains("a header"));
        for other in [b"PAR1".to_vec(), vec![7; 40], file(&whole)[5..].to_vec()] {
            check(other).unwrap();
        }
    }

    #[test]
    fn pages_that_would_burst_are_refused() {
        let page = |uncompressed, compressed, values| {
            let page = Page {
                uncompressed,
                compressed,
                values,
            };
            page.check()
        };
        page(1 << 20, 1 << 16, 1 << 20).unwrap();
        assert!(
            page(1 << 30, 1 << 16, 5)
                .unwrap_err()
                .contains("1073741824")
        );
        assert!(page(9, 9, 1 << 30).unwrap_err().contains("values"));
        page(-1, 9, 5).unwrap_err();
        // Lists in lists without an end.
        Page::read(&mut &[0x19; 64][..]).unwrap_err();
    }
}
