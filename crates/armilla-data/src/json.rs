//! Foreign JSON: Python writes `NaN` and `Infinity` into it, which no other parser takes.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// Bytes of one value, at most: its parsed form takes up to some thirty times as many.
const LARGEST: u64 = 1 << 25;

/// Reads a file of one value; numbers that are not finite become null.
pub(crate) fn read(path: &Path) -> Result<Value> {
    parse(path, 1, &text(path)?)
}

/// Reads a file of one value a line.
pub(crate) fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut reader = BufReader::new(file);
    let (mut found, mut line) = (Vec::new(), String::new());
    for number in 1.. {
        line.clear();
        let read = reader.by_ref().take(LARGEST + 1).read_line(&mut line);
        if read.map_err(Error::io("read", path))? == 0 {
            break;
        }
        check_size(path, line.len())?;
        if !line.trim().is_empty() {
            found.push(parse(path, number, &line)?);
        }
    }
    Ok(found)
}

/// Reads a file's text, if it is not too large.
pub(crate) fn text(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut text = String::new();
    let read = file.take(LARGEST + 1).read_to_string(&mut text);
    check_size(path, read.map_err(Error::io("read", path))?)?;
    Ok(text)
}

fn check_size(path: &Path, bytes: usize) -> Result<()> {
    if bytes as u64 <= LARGEST {
        return Ok(());
    }
    let problem = format!("expected JSON of up to {LARGEST} bytes, found more");
    Err(Error::file(path, problem))
}

fn parse<T: DeserializeOwned>(path: &Path, line: usize, text: &str) -> Result<T> {
    serde_json::from_str(&without_nan(text)).map_err(|error| {
        Error::file(
            path,
            format!("not JSON as expected (from line {line}): {error}"),
        )
    })
}

/// The text with `null` in place of numbers that are not finite.
fn without_nan(text: &str) -> String {
    let (mut clean, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        clean.push_str(&rest[..at]);
        rest = &rest[at..];
        let token = ["NaN", "-Infinity", "Infinity"]
            .iter()
            .find(|token| rest.starts_with(**token));
        let taken = match token {
            Some(token) => {
                clean.push_str("null");
                token.len()
            }
            None => {
                let length = if rest.starts_with('"') {
                    string_length(rest)
                } else {
                    1
                };
                clean.push_str(&rest[..length]);
                length
            }
        };
        rest = &rest[taken..];
    }
    clean + rest
}

/// Bytes of the string that a text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_finite_are_null() {
        let text = r#"{"NaN \" Infinity": [NaN, -Infinity, -1.5, "-NaN"]}"#;
        let clean = r#"{"NaN \" Infinity": [null, null, -1.5, "-NaN"]}"#;
        assert_eq!(without_nan(text), clean);
        assert_eq!(without_nan("\"open"), "\"open");
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let file = File::create(&path).unwrap();
        // A hole, which takes no place on the disk.
        file.set_len(1 << 40).unwrap();
        for error in [
            read(&path).unwrap_err().to_string(),
            read_lines::<Value>(&path).unwrap_err().to_string(),
        ] {
            assert!(error.contains("33554432 bytes"), "{error}");
        }
    }

    #[test]
    fn a_broken_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{\"a\": 1}\n\n{\"a\": ").unwrap();
        let error = read_lines::<Value>(&path).unwrap_err().to_string();
        assert!(
            error.contains("a.jsonl") && error.contains("line 3"),
            "{error}"
        );
    }
}
