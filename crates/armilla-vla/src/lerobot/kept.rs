//! Keys of a `config.json` that change nothing of what loaded weights compute: they are kept, and others are named.

use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Those that every policy of LeRobot's has.
const COMMON: [&str; 11] = [
    "device",
    "use_amp",
    "push_to_hub",
    "repo_id",
    "private",
    "tags",
    "license",
    "pretrained_path",
    "pretrained_revision",
    "optimizer_lr",
    "optimizer_weight_decay",
];
/// Whether weights are a small part that another model is to be found for, which none here is.
const ADAPTER: &str = "use_peft";

/// A key that may be null and has to be there: by itself serde takes one that is missing for null.
pub(crate) fn nullable<'de, T, D>(value: D) -> std::result::Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(value)
}

/// Checks the keys that a policy's settings did not take; `own` are those of them that its kind alone may have.
pub(crate) fn check_kept(
    rest: &Map<String, Value>,
    own: &[&str],
    policy: &str,
    path: &Path,
) -> Result<()> {
    if rest.get(ADAPTER).is_some_and(|value| value == true) {
        return Err(Error::checkpoint(path, ADAPTER, "false", "true"));
    }
    let known = |key: &&String| {
        let key = key.as_str();
        key == ADAPTER || COMMON.contains(&key) || own.contains(&key)
    };
    let unknown: Vec<&str> = rest
        .keys()
        .filter(|key| !known(key))
        .map(String::as_str)
        .collect();
    match unknown.first() {
        None => Ok(()),
        Some(key) => {
            let expected = format!("only keys that LeRobot 0.6.1 has for {policy}");
            Err(Error::checkpoint(path, *key, expected, unknown.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_may_be_null_has_to_be_there() {
        #[derive(Deserialize)]
        struct Keys {
            #[serde(deserialize_with = "nullable")]
            crop: Option<u8>,
        }
        let read = |text| serde_json::from_str::<Keys>(text).map(|keys| keys.crop);
        assert_eq!(read(r#"{"crop": null}"#).unwrap(), None);
        assert_eq!(read(r#"{"crop": 3}"#).unwrap(), Some(3));
        assert!(read("{}").unwrap_err().to_string().contains("`crop`"));
    }
}
