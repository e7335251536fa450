//! Uploads to large-file storage, by git-lfs's batch interface with the hub's transfer in parts beside the basic one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::SendBody;

use crate::Progress;
use crate::client::{Client, JSON, accepted};
use crate::error::{Error, Result};
use crate::push::Local;
use crate::repository::Repository;

const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";
/// Files in one question.
const FILES_AT_ONCE: usize = 100;

#[derive(Deserialize)]
struct Batch {
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Actions {
    #[serde(default)]
    upload: Option<Action>,
    #[serde(default)]
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

impl Action {
    /// A header's text; the hub sends numbers too.
    fn header(&self, name: &str) -> Option<String> {
        Some(match self.header.get(name)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }
}

/// Uploads what the storage does not have yet.
pub(crate) fn upload(
    client: &Client,
    repository: &Repository,
    files: &[&Local],
    progress: Progress<'_>,
) -> Result<()> {
    let url = client.url(&format!(
        "{}.git/info/lfs/objects/batch",
        repository.repo().url()
    ));
    let total = files.iter().map(|file| file.size).sum();
    let mut before = 0;
    for files in files.chunks(FILES_AT_ONCE) {
        let objects: Vec<_> = files
            .iter()
            .map(|file| json!({"oid": file.sha256, "size": file.size}))
            .collect();
        let question = json!({
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": objects,
            "hash_algo": "sha256",
            "ref": {"name": repository.revision()},
        });
        let answer: Batch = client.post_json(&url, &question, MEDIA_TYPE)?;
        for file in files {
            let object = answer
                .objects
                .iter()
                .find(|object| object.oid == file.sha256);
            let wrong = |found: String| Error::Answer {
                url: url.clone(),
                expected: "where to upload each file",
                found,
            };
            let object = object.ok_or_else(|| wrong(format!("nothing on `{}`", file.path)))?;
            if let Some(error) = &object.error {
                return Err(wrong(format!("`{}`: {error}", file.path)));
            }
            upload_one(client, file, object, &mut |done| {
                progress(&file.path, before + done, total)
            })?;
            before += file.size;
            if !progress(&file.path, before, total) {
                return Err(Error::Stopped);
            }
        }
    }
    Ok(())
}

/// Told of a file's bytes so far; gives back whether to go on.
type Done<'a> = &'a mut dyn FnMut(u64) -> bool;

fn upload_one(client: &Client, file: &Local, object: &Object, done: Done<'_>) -> Result<()> {
    let Some(actions) = &object.actions else {
        return Ok(()); // The storage has it.
    };
    if let Some(upload) = &actions.upload {
        match upload.header("chunk_size") {
            Some(size) => upload_parts(client, file, (upload, &size), done)?,
            None => {
                put(
                    client,
                    (&upload.href, Some(upload)),
                    file,
                    0..file.size,
                    done,
                )?;
            }
        }
    }
    if let Some(verify) = &actions.verify {
        let body = json!({"oid": file.sha256, "size": file.size}).to_string();
        client.post_accepted(&verify.href, body.as_bytes(), MEDIA_TYPE)?;
    }
    Ok(())
}

/// Uploads a file in parts, each to an address of its own, and says that these are all.
fn upload_parts(
    client: &Client,
    file: &Local,
    (upload, part_size): (&Action, &str),
    done: Done<'_>,
) -> Result<()> {
    let wrong = |found: String| Error::Answer {
        url: upload.href.clone(),
        expected: "a size of parts, and an address for each",
        found,
    };
    let size: u64 = part_size.parse().unwrap_or(0);
    // The addresses have numbers as names, `00001` and so on.
    let numbered = upload
        .header
        .keys()
        .filter(|key| key.bytes().all(|byte| byte.is_ascii_digit()));
    let mut addresses: Vec<_> = numbered
        .filter_map(|key| Some((key.parse::<u64>().ok()?, upload.header(key)?)))
        .collect();
    addresses.sort();
    if size == 0 || addresses.len() as u64 != file.size.div_ceil(size) {
        let found = format!(
            "{part_size} and {} for {} bytes",
            addresses.len(),
            file.size
        );
        return Err(wrong(found));
    }
    let mut parts = Vec::with_capacity(addresses.len());
    for (position, (number, address)) in (0..).zip(&addresses) {
        let range = position * size..file.size.min((position + 1) * size);
        let tag = put(client, (address, None), file, range, done)?;
        let tag = tag.ok_or_else(|| wrong(format!("no etag of part {number}")))?;
        parts.push(json!({"partNumber": number, "etag": tag}));
    }
    let body = json!({"oid": file.sha256, "parts": parts}).to_string();
    client.post_accepted(&upload.href, body.as_bytes(), JSON)
}

/// Sends a part of a file; gives back the store's tag of it.
fn put(
    client: &Client,
    (url, action): (&str, Option<&Action>),
    file: &Local,
    range: std::ops::Range<u64>,
    done: Done<'_>,
) -> Result<Option<String>> {
    client.retry(|| {
        let mut opened = File::open(&file.file).map_err(Error::io("read", &file.file))?;
        opened
            .seek(SeekFrom::Start(range.start))
            .map_err(Error::io("read", &file.file))?;
        let mut reader = Counted {
            inner: opened.take(range.end - range.start),
            at: range.start,
            done,
            stopped: false,
        };
        let mut request = client
            .agent()
            .put(url)
            .header("content-length", (range.end - range.start).to_string());
        for name in action.into_iter().flat_map(|action| action.header.keys()) {
            let value = action.and_then(|action| action.header(name));
            if !name.eq_ignore_ascii_case("content-length") {
                request = request.header(name, value.unwrap_or_default());
            }
        }
        let sent = request.send(SendBody::from_reader(&mut reader));
        if reader.stopped {
            return Err(Error::Stopped);
        }
        // What follows the question mark lets anybody write there, and has no place in a message.
        let shown = url.split('?').next().unwrap_or(url);
        let response = accepted(shown, sent)?;
        let tag = response.headers().get("etag");
        Ok(tag.and_then(|tag| tag.to_str().ok()).map(str::to_owned))
    })
}

/// Counts what is read; ends in an error when it is to stop.
struct Counted<'a, R> {
    inner: R,
    at: u64,
    done: Done<'a>,
    stopped: bool,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.at += read as u64;
        if read > 0 && !(self.done)(self.at) {
            self.stopped = true;
            return Err(std::io::Error::other("stopped"));
        }
        Ok(read)
    }
}
