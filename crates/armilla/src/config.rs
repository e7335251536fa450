//! Configuration files: found by path or by built-in name, changed by `--set`, checked once.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Built-in configurations: the files of `configs/`, by their path without `.toml`.
const BUILT_IN: [(&str, &str); 26] = [
    (
        "record/two-room",
        include_str!("../../../configs/record/two-room.toml"),
    ),
    (
        "record/push-t",
        include_str!("../../../configs/record/push-t.toml"),
    ),
    (
        "record/push-t-world",
        include_str!("../../../configs/record/push-t-world.toml"),
    ),
    (
        "record/push-t-demonstrations",
        include_str!("../../../configs/record/push-t-demonstrations.toml"),
    ),
    (
        "record/tabletop",
        include_str!("../../../configs/record/tabletop.toml"),
    ),
    (
        "record/tabletop-world",
        include_str!("../../../configs/record/tabletop-world.toml"),
    ),
    (
        "train/two-room-jepa",
        include_str!("../../../configs/train/two-room-jepa.toml"),
    ),
    (
        "train/two-room-jepa-colors",
        include_str!("../../../configs/train/two-room-jepa-colors.toml"),
    ),
    (
        "train/two-room-goal",
        include_str!("../../../configs/train/two-room-goal.toml"),
    ),
    (
        "train/push-t-jepa",
        include_str!("../../../configs/train/push-t-jepa.toml"),
    ),
    (
        "train/push-t-dino-wm",
        include_str!("../../../configs/train/push-t-dino-wm.toml"),
    ),
    (
        "train/push-t-dino-wm-paper",
        include_str!("../../../configs/train/push-t-dino-wm-paper.toml"),
    ),
    (
        "train/push-t-lewm",
        include_str!("../../../configs/train/push-t-lewm.toml"),
    ),
    (
        "train/tabletop-jepa",
        include_str!("../../../configs/train/tabletop-jepa.toml"),
    ),
    (
        "train/push-t-act",
        include_str!("../../../configs/train/push-t-act.toml"),
    ),
    (
        "train/push-t-diffusion",
        include_str!("../../../configs/train/push-t-diffusion.toml"),
    ),
    (
        "train/push-t-vla",
        include_str!("../../../configs/train/push-t-vla.toml"),
    ),
    (
        "train/tabletop-act",
        include_str!("../../../configs/train/tabletop-act.toml"),
    ),
    (
        "train/tabletop-diffusion",
        include_str!("../../../configs/train/tabletop-diffusion.toml"),
    ),
    (
        "train/tabletop-vla",
        include_str!("../../../configs/train/tabletop-vla.toml"),
    ),
    (
        "plan/push-t",
        include_str!("../../../configs/plan/push-t.toml"),
    ),
    (
        "plan/tabletop",
        include_str!("../../../configs/plan/tabletop.toml"),
    ),
    (
        "plan/two-room",
        include_str!("../../../configs/plan/two-room.toml"),
    ),
    ("plan/lewm", include_str!("../../../configs/plan/lewm.toml")),
    ("demo", include_str!("../../../configs/demo.toml")),
    (
        "demo-quick",
        include_str!("../../../configs/demo-quick.toml"),
    ),
];

/// Behind the name of a text in which settings were replaced.
const REPLACED: &str = ", with --set";

/// A TOML text and where it came from, for messages.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Path or built-in name.
    pub name: String,
    /// The text.
    pub text: String,
}

impl Source {
    /// Opens a file, or a built-in configuration by name.
    pub(crate) fn open(name: &str) -> Result<Self> {
        if Path::new(name).is_file() {
            let text =
                std::fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?;
            return Ok(Self {
                name: name.to_owned(),
                text,
            });
        }
        match BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            Some((_, text)) => Ok(Self {
                name: format!("{name} (built in)"),
                text: (*text).to_owned(),
            }),
            None => bail!(
                "no configuration {name}: expected a TOML file or one of {:?}",
                BUILT_IN.map(|(built_in, _)| built_in)
            ),
        }
    }

    /// Replaces settings given as `dotted.key=value`; a value that is not TOML is taken as a string.
    pub(crate) fn set(&mut self, settings: &[String]) -> Result<()> {
        if settings.is_empty() {
            return Ok(());
        }
        let mut table: toml::Table = self.parse()?;
        for setting in settings {
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| anyhow!("--set {setting}: expected KEY=VALUE, found no `=`"))?;
            let value = format!("value = {value}")
                .parse::<toml::Table>()
                .ok()
                .and_then(|mut parsed| parsed.remove("value"))
                .unwrap_or_else(|| toml::Value::String(value.to_owned()));
            replace(&mut table, key, value).with_context(|| format!("--set {setting}"))?;
        }
        self.text = toml::to_string_pretty(&table)?;
        // Lines are those of the text written anew.
        if !self.name.ends_with(REPLACED) {
            self.name.push_str(REPLACED);
        }
        Ok(())
    }

    /// Reads it as `T`; an error names file, line, key, what was expected and what was found.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        toml::from_str(&self.text)
            .map_err(|error| anyhow!("{}: {}", self.name, error.to_string().trim_end()))
    }
}

/// Sets a dotted key, making tables on the way.
fn replace(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<()> {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            Ok(())
        }
        Some((first, rest)) => {
            let inner = table
                .entry(first)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            match inner {
                toml::Value::Table(inner) => replace(inner, rest, value),
                other => bail!("`{first}` is a {}, not a table", other.type_str()),
            }
        }
    }
}

/// Which action a recording keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RecordedAction {
    /// What the simulator carried out: what a world model must learn from.
    #[default]
    Executed,
    /// What the expert would have done: what a policy must imitate while the executed action is perturbed (DART).
    Expert,
}

/// A group of episodes recorded with one controller.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EpisodeGroup {
    /// expert, noisy-expert, random, nothing, or a checkpoint folder.
    pub policy: String,
    /// Level of the expert's noise, in units of the action range.
    #[serde(default)]
    pub noise: f32,
    /// Number of episodes.
    pub count: usize,
}

/// What to record.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordConfig {
    /// two-room, push-t, push-t-moves or tabletop.
    pub env: String,
    /// Which episodes are drawn.
    pub protocol: String,
    /// Side of the camera picture: 64, 96 or 224.
    pub image_size: usize,
    /// Seed of the first episode; the others follow.
    #[serde(default)]
    pub seed: u64,
    /// Which action the dataset keeps.
    #[serde(default)]
    pub action: RecordedAction,
    /// Who acts, and for how many episodes.
    pub episodes: Vec<EpisodeGroup>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::train::TrainRunConfig;
    use armilla_world::{DinoWmConfig, JepaConfig, PlanConfig};

    fn source(text: &str) -> Source {
        Source {
            name: "run.toml".into(),
            text: text.into(),
        }
    }

    #[test]
    fn built_in_configurations_parse() {
        for (name, _) in BUILT_IN {
            Source::open(name).unwrap().parse::<toml::Table>().unwrap();
        }
        let recordings = BUILT_IN
            .iter()
            .filter(|(name, _)| name.starts_with("record/"));
        for (name, _) in recordings {
            Source::open(name).unwrap().parse::<RecordConfig>().unwrap();
        }
        let trainings = BUILT_IN
            .iter()
            .filter(|(name, _)| name.starts_with("train/"));
        for (name, _) in trainings {
            let config: TrainRunConfig = Source::open(name).unwrap().parse().unwrap();
            if let Some(jepa) = config.jepa {
                jepa.validate().unwrap();
            }
            if let Some(dino_wm) = config.dino_wm {
                dino_wm.validate().unwrap();
            }
        }
        for name in ["plan/two-room", "plan/push-t", "plan/tabletop", "plan/lewm"] {
            let plan: PlanConfig = Source::open(name).unwrap().parse().unwrap();
            plan.validate().unwrap();
        }
    }

    #[test]
    fn published_sizes_are_those_of_the_papers() {
        let training = |name| {
            let config: TrainRunConfig = Source::open(name).unwrap().parse().unwrap();
            config
        };
        assert_eq!(training("train/push-t-lewm").jepa, Some(JepaConfig::lewm()));
        let paper = DinoWmConfig {
            image_size: 224,
            state: 2,
            ..DinoWmConfig::paper()
        };
        assert_eq!(training("train/push-t-dino-wm-paper").dino_wm, Some(paper));
    }

    #[test]
    fn a_wrong_key_or_type_is_named() {
        let text =
            "env = \"two-room\"\nprotocol = \"record\"\nimage_size = 64\nepisodes = []\nsped = 1\n";
        let error = source(text)
            .parse::<RecordConfig>()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("run.toml") && error.contains("sped") && error.contains("seed"),
            "{error}"
        );
        let text =
            "env = \"two-room\"\nprotocol = \"record\"\nimage_size = \"big\"\nepisodes = []\n";
        let error = source(text)
            .parse::<RecordConfig>()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("image_size") && error.contains("big"),
            "{error}"
        );
    }

    #[test]
    fn settings_are_replaced() {
        let mut changed = source("a = 1\n[train]\nsteps = 10\n");
        changed
            .set(&[
                "train.steps=20".into(),
                "name=some words".into(),
                "new.deep=true".into(),
            ])
            .unwrap();
        let table: toml::Table = changed.parse().unwrap();
        assert_eq!(table["train"]["steps"].as_integer(), Some(20));
        assert_eq!(table["name"].as_str(), Some("some words"));
        assert_eq!(table["new"]["deep"].as_bool(), Some(true));
        assert!(source("a = 1").set(&["a.b=1".into()]).is_err());
    }
}
