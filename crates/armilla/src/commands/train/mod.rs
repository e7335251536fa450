//! `armilla train`: a world model or a policy, on a dataset.

mod data;
mod evaluation;
mod goal_policy;
mod policy;
mod world_model;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use armilla_data::{Dataset, ImageTransform};
use armilla_train::{
    BatchSource, BoxError, Control, Progress as TrainProgress, RunDirectory, TrainConfig,
    Trainable, Training, Validation,
};
use armilla_vla::{GoalPolicyConfig, PolicyConfig};
use armilla_world::{DinoWmConfig, JepaConfig, ModelConfig};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::cli::TrainArguments;
use crate::commands::{Ended, stop_asked};
use crate::config::Source;
use crate::hub::{self, HubType};
use crate::progress::{Progress, say};
use data::{MixturePart, TrainingData};
pub(crate) use data::{Split, ValidationSplit};
use evaluation::EvaluationRunConfig;
pub(crate) use policy::PolicyTraining;
pub(crate) use world_model::{WorldModelTraining, windows as world_model_windows};

/// What to train, on what, and how.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainRunConfig {
    /// The dataset's folder, unless typed.
    #[serde(default)]
    pub dataset: Option<PathBuf>,
    /// More datasets, drawn beside it, which counts as one of weight 1.
    #[serde(default)]
    pub mixture: Vec<MixturePart>,
    /// The cameras of the first dataset that the model looks through, in this order; its first ones unless given.
    #[serde(default)]
    pub cameras: Option<Vec<String>>,
    /// Windows a batch.
    pub batch_size: usize,
    /// Share of the episodes, evenly spread unless `validation_split` says otherwise, kept from training.
    pub validation_share: f64,
    /// Which these are.
    #[serde(default)]
    pub validation_split: Option<ValidationSplit>,
    /// Steps between measurements of the loss on what is kept from training; 0 measures none.
    #[serde(default)]
    pub validate_every: u64,
    /// Batches that it is measured on.
    #[serde(default = "eight")]
    pub validation_batches: u64,
    /// Recordings are decoded into memory where they fit in so much, else as they are needed.
    pub memory_limit_gib: f64,
    /// World models: whether all windows are drawn alike, as published recipes do, or else episodes, however long, and their earlier
    /// windows more often, so that later pictures lie far.
    #[serde(default)]
    pub even_windows: bool,
    /// Changes of the pictures; at the end they are as recorded for a policy, of `image_size` for a world model.
    #[serde(default)]
    pub transforms: Vec<ImageTransform>,
    /// Steps, learning rate and the rest.
    pub train: TrainConfig,
    /// Episodes that each checkpoint of a policy runs, to find the best.
    #[serde(default)]
    pub evaluation: Option<EvaluationRunConfig>,
    /// A world model.
    #[serde(default)]
    pub jepa: Option<JepaConfig>,
    /// A world model over an encoder's tokens.
    #[serde(default, rename = "dino-wm")]
    pub dino_wm: Option<DinoWmConfig>,
    /// Where `[dino-wm]` has its encoder from: a world model's folder, or DINOv2's weights as Hugging Face has them. Without it the encoder is random.
    #[serde(default)]
    pub encoder: Option<PathBuf>,
    /// Goal-conditioned behaviour cloning, which planners are compared with.
    #[serde(default, rename = "goal-policy")]
    pub goal_policy: Option<GoalPolicyConfig>,
    /// A policy, whose `type` says which.
    #[serde(default)]
    pub policy: Option<PolicyConfig>,
}

impl TrainRunConfig {
    /// Which episodes of a dataset are trained on and which are kept.
    pub(crate) fn split(&self, dataset: &Dataset) -> Split {
        let split = self.validation_split;
        let split = split.unwrap_or(ValidationSplit::BEFORE_THE_CHOICE);
        split.of(dataset, self.validation_share)
    }
}

fn eight() -> u64 {
    8
}

/// How a training ended.
pub(crate) struct TrainOutcome {
    /// The last checkpoint's model folder.
    pub checkpoint: PathBuf,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

/// Runs `armilla train`.
pub(crate) fn run(arguments: &TrainArguments) -> Result<Ended> {
    let device = armilla_nn::device::parse(&arguments.device)?;
    let (run, outcome) = match (&arguments.resume, &arguments.config, &arguments.out) {
        (Some(run), _, _) => (run, resume(run, &device)?),
        (None, Some(config), Some(out)) => {
            let mut source = Source::open(config)?;
            source.set(&arguments.set)?;
            let typed: TrainRunConfig = source.parse()?;
            let dataset = arguments.dataset.clone().or(typed.dataset);
            let dataset = dataset
                .context("which dataset? Give --dataset, or `dataset` in the configuration")?;
            let dataset = hub::folder(HubType::Dataset, &dataset)?;
            (out, train(&source, &dataset, out, &device)?)
        }
        _ => bail!("train: expected a configuration and --out, or --resume"),
    };
    if outcome.stopped {
        let run = run.display();
        say(&format!(
            "stopped; `armilla train --resume {run}` goes on from here"
        ));
    }
    say(&format!("checkpoint: {}", outcome.checkpoint.display()));
    Ok(Ended::when(outcome.stopped))
}

/// Begins a run.
pub(crate) fn train(
    source: &Source,
    dataset: &Path,
    out: &Path,
    device: &Device,
) -> Result<TrainOutcome> {
    let mut config: TrainRunConfig = source.parse()?;
    let absolute = |path: &Path| {
        std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
    };
    config.dataset = Some(absolute(dataset)?);
    config.validation_split = Some(config.validation_split.unwrap_or_default());
    for part in &mut config.mixture {
        part.dataset = absolute(&part.dataset)?;
    }
    config.encoder = config.encoder.as_deref().map(absolute).transpose()?;
    // Opened before the run's folder is made, so that bad data leaves nothing behind.
    TrainingData::open(&config)?;
    let run = RunDirectory::create(out, &toml::to_string_pretty(&config)?)?;
    let trained = start(&config, &run, device);
    if trained.is_err() {
        run.remove_unused()?;
    }
    trained
}

/// Goes on with a run.
fn resume(path: &Path, device: &Device) -> Result<TrainOutcome> {
    let run = RunDirectory::open(path)?;
    let file = path.join("config.toml");
    let config: TrainRunConfig = Source::open(&file.to_string_lossy())?.parse()?;
    start(&config, &run, device)
}

fn start(config: &TrainRunConfig, run: &RunDirectory, device: &Device) -> Result<TrainOutcome> {
    ensure!(
        config.evaluation.is_none() || config.policy.is_some(),
        "[evaluation]: expected beside [policy] only"
    );
    ensure!(
        config.encoder.is_none() || config.dino_wm.is_some(),
        "`encoder`: expected only beside [dino-wm], whose encoder is not trained"
    );
    config.train.validate()?;
    if let Some(evaluation) = &config.evaluation {
        evaluation::check(evaluation)?;
    }
    let data = TrainingData::open(config)?;
    let world = |model: ModelConfig| world_model::train(config, &model, &data, run, device);
    let TrainRunConfig {
        jepa,
        dino_wm,
        goal_policy,
        policy,
        ..
    } = config;
    match (jepa, dino_wm, goal_policy, policy) {
        (Some(jepa), None, None, None) => world(ModelConfig::Jepa(jepa.clone())),
        (None, Some(dino_wm), None, None) => world(ModelConfig::DinoWm(dino_wm.clone())),
        (None, None, Some(policy), None) => goal_policy::train(config, policy, &data, run, device),
        (None, None, None, Some(policy)) => policy::train(config, policy, &data, run, device),
        _ => bail!(
            "expected exactly one of [jepa], [dino-wm], [goal-policy] and [policy] in the configuration"
        ),
    }
}

/// Where batches come from.
struct Sources<'a, B> {
    training: &'a mut dyn BatchSource<Batch = B>,
    /// Kept from training.
    validation: Option<&'a mut dyn BatchSource<Batch = B>>,
}

/// Trains to the end, or to Ctrl-C.
fn finish<M: Trainable>(
    config: &TrainRunConfig,
    run: &RunDirectory,
    model: M,
    sources: Sources<'_, M::Batch>,
    export: &dyn Fn(&M, &Path) -> Result<(), BoxError>,
) -> Result<TrainOutcome> {
    let dataset = config.dataset.as_deref().unwrap_or(Path::new(""));
    // Before the run leaves anything behind: what cannot be learnt from is said at once.
    let first = sources.training.batch(0);
    first
        .map_err(anyhow::Error::from_boxed)
        .with_context(|| dataset.display().to_string())?;
    let mut progress = Progress::new("train", "steps", config.train.steps);
    let mut listen = |state: &TrainProgress| {
        progress.set(state.step, format!("loss {:.4}", state.loss));
        if stop_asked() {
            Control::Stop
        } else {
            Control::Continue
        }
    };
    let device = model.devices().into_iter().next().map(Device::inner);
    let evaluation = config.evaluation.as_ref().zip(device.as_ref());
    if let Some((wanted, device)) = evaluation {
        evaluation::make_up(wanted, run, device)?;
    }
    let mut heed = |step: u64, checkpoint: &Path| match evaluation {
        // Who asked to stop waits for nothing; a run that goes on makes up for it.
        Some((wanted, device)) if !stop_asked() => {
            let saved = (step, checkpoint);
            Ok(evaluation::evaluate(wanted, run, saved, device)?)
        }
        _ => Ok(()),
    };
    let validation = sources.validation.map(|source| Validation {
        source,
        batches: config.validation_batches,
        every: config.validate_every,
    });
    let training = Training {
        source: sources.training,
        validation,
        config: &config.train,
        run,
        export,
        saved: &mut heed,
        progress: &mut listen,
    };
    let trained = armilla_train::train(model, training)?;
    progress.finish();
    Ok(TrainOutcome {
        checkpoint: trained.checkpoint.join("model"),
        stopped: trained.stopped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::{Action, Feature, Features, Image, Observation};
    use armilla_data::{Dataset, EpisodeFrames, Recorder, RecorderConfig};
    use armilla_world::{Frame, WorldModel};

    /// A robot with two cameras, a state and actions of three values.
    fn recorded(root: &Path) {
        let mut features = Features::robot(
            ("front", Feature::camera(16, 16)),
            Feature::vector(&["x", "y", "z", "grip"]),
            Feature::vector(&["dx", "dy", "dz"]),
        );
        let wrist = (
            "observation.images.wrist".to_owned(),
            Feature::camera(16, 16),
        );
        features.0.extend([wrist]);
        let config = RecorderConfig::new(features, 10, "test", "test");
        let mut recorder = Recorder::create(root, config).unwrap();
        let frame = |episode: u8, step: u8| {
            let picture = |level: u8| Image::filled(16, 16, [level, 90, 20 * step]);
            let images = [("front", picture(10)), ("wrist", picture(200))];
            let moved = f32::from(step + episode);
            let observation = Observation {
                images: images.map(|(name, image)| (name.to_owned(), image)).into(),
                state: vec![moved, -moved, 0.1 * moved, 1.0 + moved],
                ..Observation::default()
            };
            (observation, Action(vec![moved, 0.5 - moved, 0.25 * moved]))
        };
        for episode in 0..4 {
            let mut frames = EpisodeFrames::default();
            for step in 0..12 {
                let (observation, action) = frame(episode, step);
                frames.push(observation, action);
            }
            recorder.add_episodes(&[frames]).unwrap();
        }
        recorder.finish().unwrap();
    }

    const SMALL: [&str; 19] = [
        "jepa.image_size=16",
        "jepa.cameras=2",
        "jepa.state=4",
        "jepa.action=3",
        "jepa.action_repeat=2",
        "jepa.symmetries=false",
        "jepa.embedding=0",
        "jepa.loss.distance_weight=0.0",
        "jepa.encoder.channels=[4,4]",
        "jepa.decoder_channels=[4,4]",
        "jepa.latent=8",
        "jepa.projector_hidden=8",
        "jepa.predictor.hidden=8",
        "jepa.loss.sigreg_projections=8",
        "batch_size=4",
        "train.steps=2",
        "train.warmup_steps=0",
        "train.checkpoint_every=0",
        "validation_share=0.25",
    ];

    #[test]
    fn a_model_of_two_cameras_and_a_state_learns_and_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let (data, run) = (folder.path().join("data"), folder.path().join("run"));
        recorded(&data);
        let device = Device::flex();
        let mut source = Source::open("train/two-room-jepa").unwrap();
        source.set(&SMALL.map(str::to_owned)).unwrap();
        let first = source.clone();
        let chosen = |names: &str| format!("cameras=[{names}]");
        source.set(&[chosen("'wrist','front'")]).unwrap();
        let trained = train(&source, &data, &run, &device).unwrap();
        let model = WorldModel::load(&trained.checkpoint, &device).unwrap();
        assert_eq!(model.interface().cameras, ["wrist", "front"]);
        let dataset = Dataset::open(&data).unwrap();
        assert_eq!(model.interface().rate_hz, Some(f64::from(dataset.fps())));
        let [one, other] = [10, 200].map(|level| Image::filled(16, 16, [level, 90, 0]));
        let state = [0.0, 0.0, 0.0, 1.0];
        let moved = [5.0, 0.0, 0.0, 1.0];
        let frame = |images: [&'_ Image; 2], state: &[f32; 4]| {
            let frame = Frame {
                images: images.to_vec(),
                state,
            };
            model.encode(&[frame]).unwrap().remove(0)
        };
        let latent = frame([&other, &one], &state);
        assert_ne!(latent, frame([&one, &other], &state), "each has its place");
        assert_ne!(latent, frame([&other, &one], &moved), "the state counts");
        let imagined = model.imagine(&latent, &[vec![1.0, 0.0, 0.0]]).unwrap();
        assert_ne!(imagined, model.imagine(&latent, &[vec![0.0; 3]]).unwrap());
        assert_eq!(model.decode(&imagined).unwrap().len(), 1);

        // More cameras than there are, and others than there are.
        for (change, expected) in [
            (
                "jepa.cameras=3".to_owned(),
                "found 2: front, wrist; a training takes as many",
            ),
            (chosen("'wrist','top'"), "expected 2 of front, wrist in"),
        ] {
            let mut wrong = first.clone();
            wrong.set(&[change]).unwrap();
            let out = folder.path().join("wrong");
            let said = format!("{:#}", train(&wrong, &data, &out, &device).err().unwrap());
            assert!(said.contains(expected), "{said}");
            assert!(!out.exists());
        }
    }
}
