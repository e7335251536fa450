//! `armilla train`: a world model or a policy, on a dataset.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use armilla_core::features::{ACTION, IMAGE_PREFIX, STATE};
use armilla_core::random::stream;
use armilla_data::{Dataset, FrameStore, LaterSpec, StoreConfig, WindowLoader, WindowSpec};
use armilla_nn::random::seeded;
use armilla_train::{
    BatchSource, BoxError, Control, Loss, Progress as TrainProgress, RunDirectory, StepContext,
    TrainConfig, Trainable, Training,
};
use armilla_vla::{
    FlowBatch, FlowPolicy, FlowPolicyConfig, NormalizationModes, PolicyShape, Processor, Tokenizer,
    TrainedPolicy,
};
use armilla_world::{ActionScale, Interface, Jepa, JepaBatch, JepaConfig, WorldModel};
use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::cli::TrainArguments;
use crate::commands::stop_asked;
use crate::config::Source;
use crate::hub::{self, HubType};
use crate::progress::{Progress, say};

/// What to train, on what, and how.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainRunConfig {
    /// The dataset's folder, unless typed.
    #[serde(default)]
    pub dataset: Option<PathBuf>,
    /// Windows a batch.
    pub batch_size: usize,
    /// Share of the episodes, from the last, kept from training.
    pub validation_share: f64,
    /// Recordings are decoded into memory; more than this is refused.
    pub memory_limit_gib: f64,
    /// Steps, learning rate and the rest.
    pub train: TrainConfig,
    /// A world model.
    #[serde(default)]
    pub jepa: Option<JepaConfig>,
    /// A policy.
    #[serde(default, rename = "flow-policy")]
    pub flow_policy: Option<FlowPolicyConfig>,
}

/// How a training ended.
pub(crate) struct TrainOutcome {
    /// The last checkpoint's model folder.
    pub checkpoint: PathBuf,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

/// Runs `armilla train`.
pub(crate) fn run(arguments: &TrainArguments) -> Result<()> {
    let device = armilla_nn::device::parse(&arguments.device)?;
    let outcome = match (&arguments.resume, &arguments.config, &arguments.out) {
        (Some(run), _, _) => resume(run, &device)?,
        (None, Some(config), Some(out)) => {
            let mut source = Source::open(config)?;
            source.set(&arguments.set)?;
            let typed: TrainRunConfig = source.parse()?;
            let dataset = arguments.dataset.clone().or(typed.dataset);
            let dataset = dataset
                .context("which dataset? Give --dataset, or `dataset` in the configuration")?;
            let dataset = hub::folder(HubType::Dataset, &dataset)?;
            train(&source, &dataset, out, &device)?
        }
        _ => bail!("train: expected a configuration and --out, or --resume"),
    };
    if outcome.stopped {
        say("stopped; `armilla train --resume RUN` goes on from here");
    }
    say(&format!("checkpoint: {}", outcome.checkpoint.display()));
    Ok(())
}

/// Begins a run.
pub(crate) fn train(
    source: &Source,
    dataset: &Path,
    out: &Path,
    device: &Device,
) -> Result<TrainOutcome> {
    let mut config: TrainRunConfig = source.parse()?;
    let dataset = std::path::absolute(dataset)
        .with_context(|| format!("cannot find {}", dataset.display()))?;
    // Opened before the run's folder is made, so that bad data leaves nothing behind.
    Dataset::open(&dataset)?;
    config.dataset = Some(dataset);
    let run = RunDirectory::create(out, &toml::to_string_pretty(&config)?)?;
    start(&config, &run, device)
}

/// Goes on with a run.
fn resume(path: &Path, device: &Device) -> Result<TrainOutcome> {
    let run = RunDirectory::open(path)?;
    let file = path.join("config.toml");
    let config: TrainRunConfig = Source::open(&file.to_string_lossy())?.parse()?;
    start(&config, &run, device)
}

fn start(config: &TrainRunConfig, run: &RunDirectory, device: &Device) -> Result<TrainOutcome> {
    let root = config
        .dataset
        .as_ref()
        .context("config.toml: `dataset` is missing")?;
    let dataset = Dataset::open(root)?;
    match (&config.jepa, &config.flow_policy) {
        (Some(jepa), None) => train_world_model(config, jepa, &dataset, run, device),
        (None, Some(policy)) => train_policy(config, policy, &dataset, run, device),
        _ => bail!("expected exactly one of [jepa] and [flow-policy] in the configuration"),
    }
}

/// Numbers of the episodes to train on and to keep, in this order.
pub(crate) fn split(dataset: &Dataset, validation_share: f64) -> (Vec<usize>, Vec<usize>) {
    let count = dataset.episodes().len();
    let kept = ((count as f64 * validation_share).round() as usize).min(count.saturating_sub(1));
    ((0..count - kept).collect(), (count - kept..count).collect())
}

/// Decodes episodes into memory.
pub(crate) fn load_frames(
    dataset: &Dataset,
    episodes: Vec<usize>,
    memory_limit_gib: f64,
) -> Result<Arc<FrameStore>> {
    let store = StoreConfig {
        camera: None,
        memory_limit_bytes: (memory_limit_gib * f64::from(1 << 30)) as u64,
        episodes: Some(episodes),
    };
    let total = store.episodes.as_ref().map_or(0, Vec::len) as u64;
    let progress = std::sync::Mutex::new(Progress::new("decode", "episodes", total));
    let store = FrameStore::load(dataset, &store, &|done, _| {
        if let Ok(mut progress) = progress.lock() {
            progress.set(done as u64, "");
        }
    })?;
    if let Ok(progress) = progress.into_inner() {
        progress.finish();
    }
    Ok(Arc::new(store))
}

/// The windows a world model learns from.
pub(crate) fn world_model_windows(jepa: &JepaConfig) -> WindowSpec {
    let repeat = jepa.action_repeat;
    let frames = jepa.history + jepa.loss.rollout;
    let offsets: Vec<_> = (0..frames).map(|frame| (frame * repeat) as i64).collect();
    let later = (jepa.loss.distance_weight > 0.0).then_some(LaterSpec {
        min_steps: 0,
        max_steps: (jepa.loss.distance_max * repeat as f64) as usize,
        // An episode's end is its goal: the ways there are the longest, and those around walls.
        last_share: 0.5,
    });
    WindowSpec {
        later,
        ..WindowSpec::new(&offsets, (frames - 1) * repeat)
    }
}

/// Draws every episode alike, however long, and earlier windows of it more often, so that later pictures lie far.
fn balanced(loader: WindowLoader) -> Result<WindowLoader> {
    let store = Arc::clone(loader.store());
    Ok(loader.with_weights(|window| {
        let length = store.episodes()[window.episode].length as f32;
        let place = (window.frame as f32 + 0.5) / length;
        place.powf(-1.0 / 3.0) / length
    })?)
}

fn train_world_model(
    config: &TrainRunConfig,
    jepa: &JepaConfig,
    dataset: &Dataset,
    run: &RunDirectory,
    device: &Device,
) -> Result<TrainOutcome> {
    let (training, _) = split(dataset, config.validation_share);
    let store = load_frames(dataset, training, config.memory_limit_gib)?;
    let loader = WindowLoader::new(
        store,
        world_model_windows(jepa),
        config.batch_size,
        config.train.seed,
    )?;
    let loader = balanced(loader)?;
    let scale = ActionScale::from_statistics(action_statistics(dataset)?);
    let device = device.clone().autodiff();
    let model = jepa.init(config.train.seed, &device)?;
    say(&format!(
        "world model: {} parameters, {} windows",
        model.num_params(),
        loader.len()
    ));
    let interface = Interface {
        camera: camera(dataset)?,
        actions: scale.clone(),
    };
    let mut source = JepaWindows {
        loader,
        scale,
        config: jepa.clone(),
        seed: config.train.seed,
        device: device.clone(),
    };
    let export = |model: &JepaTraining, folder: &Path| -> Result<(), BoxError> {
        Ok(WorldModel::new(&model.jepa, interface.clone())?.save(folder)?)
    };
    finish(
        config,
        run,
        JepaTraining { jepa: model },
        &mut source,
        &export,
    )
}

fn train_policy(
    config: &TrainRunConfig,
    policy: &FlowPolicyConfig,
    dataset: &Dataset,
    run: &RunDirectory,
    device: &Device,
) -> Result<TrainOutcome> {
    let (training, _) = split(dataset, config.validation_share);
    let store = load_frames(dataset, training, config.memory_limit_gib)?;
    let tokenizer = Tokenizer::train(dataset.tasks().iter().map(String::as_str))?;
    let processor = Processor::new(
        tokenizer,
        dataset.statistics(),
        NormalizationModes::default(),
        policy.text.max_tokens,
    )?;
    let shape = PolicyShape {
        camera: camera(dataset)?,
        height: store.height(),
        width: store.width(),
        state: processor.width(STATE),
        action: processor.width(ACTION),
        vocabulary: processor.tokenizer().vocabulary(),
    };
    let spec = WindowSpec {
        allow_short_tail: true,
        ..WindowSpec::new(&[0], policy.action_horizon)
    };
    let loader = WindowLoader::new(store, spec, config.batch_size, config.train.seed)?;
    let device = device.clone().autodiff();
    let model = policy.init(&shape, &device)?;
    // Parameters are drawn at first use, which is here.
    let model = seeded(&device, config.train.seed, || model);
    say(&format!(
        "policy: {} parameters, {} windows",
        model.num_params(),
        loader.len()
    ));
    let mut source = PolicyWindows {
        loader,
        processor: processor.clone(),
        device: device.clone(),
    };
    let settings = serde_json::to_value(config)?;
    let export = |model: &PolicyTraining, folder: &Path| -> Result<(), BoxError> {
        let trained = TrainedPolicy {
            config: policy.clone(),
            shape: shape.clone(),
            model: model.policy.clone(),
            processor: processor.clone(),
        };
        Ok(trained.save(folder, &settings)?)
    };
    finish(
        config,
        run,
        PolicyTraining { policy: model },
        &mut source,
        &export,
    )
}

/// Trains to the end, or to Ctrl-C.
fn finish<M: Trainable>(
    config: &TrainRunConfig,
    run: &RunDirectory,
    model: M,
    source: &mut dyn BatchSource<Batch = M::Batch>,
    export: &dyn Fn(&M, &Path) -> Result<(), BoxError>,
) -> Result<TrainOutcome> {
    let mut progress = Progress::new("train", "steps", config.train.steps);
    let mut listen = |state: &TrainProgress| {
        progress.set(state.step, format!("loss {:.4}", state.loss));
        if stop_asked() {
            Control::Stop
        } else {
            Control::Continue
        }
    };
    let training = Training {
        source,
        config: &config.train,
        run,
        export,
        progress: &mut listen,
    };
    let trained = armilla_train::train(model, training)?;
    progress.finish();
    Ok(TrainOutcome {
        checkpoint: trained.checkpoint.join("model"),
        stopped: trained.stopped,
    })
}

/// Name of the first camera, as observations have it.
fn camera(dataset: &Dataset) -> Result<String> {
    let key = dataset.first_camera()?;
    Ok(key.strip_prefix(IMAGE_PREFIX).unwrap_or(&key).to_owned())
}

fn action_statistics(dataset: &Dataset) -> Result<&armilla_core::FeatureStatistics> {
    dataset
        .statistics()
        .get(ACTION)
        .ok_or_else(|| anyhow!("{}: no statistics of `{ACTION}`", dataset.root().display()))
}

/// A world model in training.
#[derive(Module, Debug)]
pub(crate) struct JepaTraining {
    pub(crate) jepa: Jepa,
}

impl Trainable for JepaTraining {
    type Batch = JepaBatch;

    fn loss(&self, batch: JepaBatch, context: StepContext) -> Loss {
        let loss = self.jepa.loss(batch, &mut context.stream("jepa"));
        Loss {
            total: loss.total,
            figures: loss.figures,
        }
    }
}

/// Windows of a recording for a world model.
struct JepaWindows {
    loader: WindowLoader,
    scale: ActionScale,
    config: JepaConfig,
    seed: u64,
    device: Device,
}

impl BatchSource for JepaWindows {
    type Batch = JepaBatch;

    fn batch(&mut self, step: u64) -> Result<JepaBatch, BoxError> {
        let mut windows = self.loader.batch(step);
        if self.config.symmetries {
            armilla_world::turn(&mut windows, &mut stream(self.seed, "symmetries", step))?;
        }
        Ok(JepaBatch::from_windows(
            &windows,
            &self.scale,
            &self.config,
            &self.device,
        )?)
    }
}

/// A policy in training.
#[derive(Module, Debug)]
pub(crate) struct PolicyTraining {
    pub(crate) policy: FlowPolicy,
}

impl Trainable for PolicyTraining {
    type Batch = FlowBatch;

    fn loss(&self, batch: FlowBatch, context: StepContext) -> Loss {
        let loss = self.policy.loss(batch, &mut context.stream("flow"));
        Loss {
            total: loss.total,
            figures: loss.figures,
        }
    }
}

/// Windows of a recording for a policy.
struct PolicyWindows {
    loader: WindowLoader,
    processor: Processor,
    device: Device,
}

impl BatchSource for PolicyWindows {
    type Batch = FlowBatch;

    fn batch(&mut self, step: u64) -> Result<FlowBatch, BoxError> {
        Ok(FlowBatch::from_windows(
            &self.loader.batch(step),
            &self.processor,
            &self.device,
        )?)
    }
}
