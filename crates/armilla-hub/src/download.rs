//! One file from the hub, going on where an earlier attempt ended.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::cache::{has, make_parent};
use crate::client::{ATTEMPTS, Client, accepted, is_passing, say_again, unreachable};
use crate::error::{Error, Result};
use crate::hash;
use crate::listing::Entry;
use crate::repository::{Repository, encoded};

/// Told of a file's bytes so far; gives back whether to go on.
type Done<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Downloads a file's contents; they get their name once their hash is right.
pub(crate) fn fetch(
    client: &Client,
    repository: &Repository,
    entry: &Entry,
    blob: &Path,
    done: Done<'_>,
) -> Result<()> {
    make_parent(blob)?;
    let partial = partial_name(blob);
    let failed = |action| Error::io(action, &partial);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&partial)
        .map_err(failed("open"))?;
    // Another process may be at it: this one waits, and finds it done.
    file.lock().map_err(failed("lock"))?;
    if has(blob, entry.size) {
        return fs::remove_file(&partial).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(failed("remove")(error)),
        });
    }
    fill(client, repository, entry, (&mut file, &partial), done)?;
    file.sync_all().map_err(failed("sync"))?;
    let found = hash::like(&partial, &entry.hash)?;
    if found != entry.hash {
        fs::remove_file(&partial).map_err(failed("remove"))?;
        return Err(Error::Hash {
            repository: repository.to_string(),
            path: entry.path.clone(),
            expected: entry.hash.to_string(),
            found: found.to_string(),
        });
    }
    fs::rename(&partial, blob).map_err(Error::io("rename a finished download to", blob))
}

fn partial_name(blob: &Path) -> PathBuf {
    let mut name = OsString::from(blob.file_name().unwrap_or_default());
    name.push(".incomplete");
    blob.with_file_name(name)
}

/// Asks until the file has its size, as long as each few attempts bring something.
fn fill(
    client: &Client,
    repository: &Repository,
    entry: &Entry,
    (file, path): (&mut File, &Path),
    done: Done<'_>,
) -> Result<()> {
    let url = client.url(&format!(
        "{}/resolve/{}/{}",
        repository.repo().url(),
        encoded(repository.revision()),
        encoded(&entry.path)
    ));
    let mut failures = 0;
    loop {
        let start = length(file, path)?;
        if start == entry.size {
            return Ok(());
        } else if start > entry.size {
            // Of something else.
            restart(file, path)?;
            continue;
        }
        let taken = take(client, (&url, entry.size), (file, path), start, done);
        let Err(error) = taken else { continue };
        let range_refused = matches!(error, Error::Refused { status: 416, .. });
        if range_refused && start > 0 {
            restart(file, path)?;
        } else if !is_passing(&error) {
            return Err(error);
        }
        failures = if length(file, path)? > start {
            0
        } else {
            failures + 1
        };
        if failures >= ATTEMPTS {
            return Err(error);
        }
        say_again(&error);
        client.wait(failures);
    }
}

/// One request for the bytes from `start` on.
fn take(
    client: &Client,
    (url, size): (&str, u64),
    (file, path): (&mut File, &Path),
    start: u64,
    done: Done<'_>,
) -> Result<()> {
    let request = client.signed(url, client.agent().get(url));
    let request = request
        .header("range", format!("bytes={start}-"))
        // Compressed on the way, it would have other places.
        .header("accept-encoding", "identity");
    let response = accepted(url, request.call())?;
    let mut at = start;
    if response.status().as_u16() == 206 {
        let range = response.headers().get("content-range");
        let range = range.and_then(|range| range.to_str().ok()).unwrap_or("");
        if !range.starts_with(&format!("bytes {start}-")) {
            return Err(Error::Answer {
                url: url.to_owned(),
                expected: "the bytes that were asked for",
                found: format!("the range `{range}` in place of one from {start} on"),
            });
        }
    } else {
        // All of it, whatever was asked for.
        restart(file, path)?;
        at = 0;
    }
    file.seek(SeekFrom::Start(at))
        .map_err(Error::io("write", path))?;
    let mut reader = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 17];
    while at < size {
        let read = reader.read(&mut buffer);
        let read = read.map_err(|error| unreachable(url, error))?;
        if read == 0 {
            let problem = format!("the connection ended after {at} of {size} bytes");
            return Err(unreachable(url, problem));
        }
        // What lies beyond the size is not looked at: the hash says whether the rest is right.
        let wanted = read.min(usize::try_from(size - at).unwrap_or(read));
        file.write_all(&buffer[..wanted])
            .map_err(Error::io("write", path))?;
        at += wanted as u64;
        if !done(at) {
            return Err(Error::Stopped);
        }
    }
    Ok(())
}

fn length(file: &File, path: &Path) -> Result<u64> {
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    Ok(metadata.len())
}

fn restart(file: &File, path: &Path) -> Result<()> {
    file.set_len(0).map_err(Error::io("write", path))
}
