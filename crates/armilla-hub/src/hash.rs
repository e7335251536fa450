//! The two hashes by which the hub knows a file.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::listing::Hash;

/// SHA-256 and git's hash of a file's bytes, in hexadecimal, and its size. `done` is told of each part read.
pub(crate) fn of_file(path: &Path, done: &mut dyn FnMut(u64)) -> Result<(String, String, u64)> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    let mut whole = Sha256::new();
    let mut blob = Sha1::new();
    blob.update(format!("blob {size}\0").as_bytes());
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if read == 0 {
            return Ok((
                hexadecimal(&whole.finalize()),
                hexadecimal(&blob.finalize()),
                size,
            ));
        }
        whole.update(&buffer[..read]);
        blob.update(&buffer[..read]);
        done(read as u64);
    }
}

/// The hash of a file, of the kind that another has.
pub(crate) fn like(path: &Path, expected: &Hash) -> Result<Hash> {
    let (sha256, blob, _) = of_file(path, &mut |_| ())?;
    Ok(match expected {
        Hash::Sha256(_) => Hash::Sha256(sha256),
        Hash::GitBlob(_) => Hash::GitBlob(blob),
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_gits_and_sha256() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "hello\n").unwrap();
        let (sha256, blob, size) = of_file(&path, &mut |_| ()).unwrap();
        // `git hash-object` and `sha256sum` of the same bytes.
        assert_eq!(blob, "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(
            (sha256.as_str(), size),
            (
                "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
                6
            )
        );
    }
}
