//! The envelope of every message: version, kind and body in one MessagePack map.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{BusError, Result};

/// Version of the messages. It changes with every change that an older program would misread.
pub const VERSION: u16 = 3;

/// Largest payload, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 64 << 20;

/// A body that goes over the wire.
pub(crate) trait Message: Serialize + DeserializeOwned {
    /// Its name on the wire.
    const KIND: &'static str;
}

#[derive(Serialize)]
struct Outgoing<'a, T> {
    version: u16,
    kind: &'static str,
    body: &'a T,
}

#[derive(Deserialize)]
struct Header {
    version: u16,
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct Incoming<T> {
    body: T,
}

/// Writes a message.
pub(crate) fn encode<T: Message>(body: &T) -> Result<Vec<u8>> {
    let outgoing = Outgoing {
        version: VERSION,
        kind: T::KIND,
        body,
    };
    let bytes = rmp_serde::to_vec_named(&outgoing)
        .map_err(|error| BusError::failed(format!("writing `{}`", T::KIND), error))?;
    check_limit("the payload in bytes", bytes.len(), MAX_PAYLOAD)?;
    Ok(bytes)
}

/// Reads a message: its size first, its version next, its kind, and only then its body.
pub(crate) fn decode<T: Message>(bytes: &[u8]) -> Result<T> {
    check_limit("the payload in bytes", bytes.len(), MAX_PAYLOAD)?;
    let malformed = |found: String| BusError::Malformed {
        expected: T::KIND,
        found,
    };
    let header: Header = rmp_serde::from_slice(bytes)
        .map_err(|error| malformed(format!("no map with a version and a kind ({error})")))?;
    if header.version != VERSION {
        return Err(BusError::Version {
            kind: header.kind,
            found: header.version,
            expected: VERSION,
        });
    }
    if header.kind != T::KIND {
        return Err(malformed(format!("`{}`", header.kind)));
    }
    let incoming: Incoming<T> = rmp_serde::from_slice(bytes)
        .map_err(|error| malformed(format!("a body that does not fit ({error})")))?;
    Ok(incoming.body)
}

/// Refuses a size above its limit.
pub(crate) fn check_limit(what: &'static str, found: usize, limit: usize) -> Result<()> {
    if found > limit {
        return Err(BusError::TooLarge { what, found, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{CloseRequest, Done};

    #[test]
    fn another_version_is_named() {
        #[derive(Serialize)]
        struct Newer {
            version: u16,
            kind: &'static str,
            extra: [u8; 3],
        }
        let newer = Newer {
            version: VERSION + 1,
            kind: "close_request",
            extra: [1, 2, 3],
        };
        let bytes = rmp_serde::to_vec_named(&newer).unwrap();
        let error = decode::<CloseRequest>(&bytes).unwrap_err().to_string();
        assert!(
            error.contains("version 4") && error.contains("speaks version 3"),
            "{error}"
        );
    }

    #[test]
    fn another_kind_and_noise_are_refused() {
        let bytes = encode(&Done {}).unwrap();
        let error = decode::<CloseRequest>(&bytes).unwrap_err().to_string();
        assert!(
            error.contains("`close_request`") && error.contains("`done`"),
            "{error}"
        );
        for noise in [&b""[..], b"hello", &[0x81], &bytes[..bytes.len() - 3]] {
            let error = decode::<Done>(noise).unwrap_err().to_string();
            assert!(error.contains("expected `done`"), "{error}");
        }
    }

    #[test]
    fn an_oversize_payload_is_refused() {
        let error = decode::<Done>(&vec![0; MAX_PAYLOAD + 1]).unwrap_err();
        assert!(matches!(error, BusError::TooLarge { .. }), "{error}");
    }
}
