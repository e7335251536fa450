//! Training a world model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use armilla_core::features::{ACTION, STATE};
use armilla_core::random::stream;
use armilla_data::{LaterSpec, WindowLoader, WindowSpec};
use armilla_nn::Activation;
use armilla_train::{BatchSource, BoxError, Loss, RunDirectory, StepContext, Trainable};
use armilla_world::encoder::Encoder;
use armilla_world::{
    ActionScale, Interface, Model, ModelConfig, Rotated, Shape, StateScale, TrainingBatch,
    WorldModel,
};
use burn::module::Module;
use burn::tensor::Device;

use super::data::{ModelInputs, TrainingData, preload, state_of_source};
use super::{Sources, TrainOutcome, TrainRunConfig, finish};
use crate::progress::say;

/// The windows a world model learns from, with so many frames at least.
pub(crate) fn windows(config: &ModelConfig, at_least: usize) -> WindowSpec {
    let Shape {
        action_repeat: repeat,
        history,
        rollout,
        ..
    } = config.shape();
    let frames = (history + rollout).max(at_least);
    let offsets: Vec<_> = (0..frames).map(|frame| (frame * repeat) as i64).collect();
    let later = config.pairs().map(|pairs| LaterSpec {
        min_steps: 0,
        max_steps: (pairs.max * repeat as f64) as usize,
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
    let episodes = loader.episodes().to_vec();
    Ok(loader.with_weights(|window| {
        let length = episodes[window.episode].length as f32;
        let place = (window.frame as f32 + 0.5) / length;
        place.powf(-1.0 / 3.0) / length
    })?)
}

/// Trains one.
pub(super) fn train(
    config: &TrainRunConfig,
    world: &ModelConfig,
    data: &TrainingData,
    run: &RunDirectory,
    device: &Device,
) -> Result<TrainOutcome> {
    // Before windows are as long as a setting that may be any number.
    world.validate()?;
    let shape = world.shape();
    data.check(&shape)?;
    data.check_statistics(&[ACTION, STATE])?;
    let seen = ModelInputs::World(&shape);
    let kept = data.kept(config, windows(world, 2), seen)?;
    let loader = data.loader(config, windows(world, 2), seen)?;
    // Weights of the windows would undo those of the datasets.
    let even = config.even_windows || !config.mixture.is_empty();
    let drawn = |loader| if even { Ok(loader) } else { balanced(loader) };
    // What is kept in the same way, or the losses could not be compared.
    let (loader, kept) = (drawn(loader)?, kept.map(drawn).transpose()?);
    let loader = Arc::new(loader);
    let interface = Interface {
        cameras: data.cameras(shape.cameras)?,
        actions: ActionScale::from_statistics(&data.statistics(&loader, ACTION)?),
        states: match shape.state {
            0 => StateScale::default(),
            _ => StateScale::from_statistics(&data.statistics(&loader, STATE)?),
        },
        rate_hz: Some(data.fps().into()),
    };
    check(&interface, &shape).with_context(|| data.root())?;
    let device = device.clone().autodiff();
    say_what_may_surprise(config, world, run);
    let model = world.init(config.train.seed, &device)?;
    let model = with_encoder(model, encoder(config, run).as_deref(), &device)?;
    kept.iter().chain([&*loader]).try_for_each(preload)?;
    say(&format!(
        "world model: {} parameters, {} windows",
        model.num_params(),
        loader.len()
    ));
    let source = |loader, device: Device| Windows {
        loader,
        even,
        interface: interface.clone(),
        config: world.clone(),
        activation: model.config().activation(),
        seed: config.train.seed,
        device,
    };
    let mut training = source(loader, device.clone());
    let mut kept = kept.map(|loader| source(Arc::new(loader), device.clone().inner()));
    let export = |model: &WorldModelTraining, folder: &Path| -> Result<(), BoxError> {
        Ok(WorldModel::new(&model.model, interface.clone())?.save(folder)?)
    };
    finish(
        config,
        run,
        WorldModelTraining { model },
        Sources {
            training: &mut training,
            validation: kept.as_mut().map(|source| source as _),
        },
        &export,
    )
}

/// Says what a configuration leaves out or takes away.
fn say_what_may_surprise(config: &TrainRunConfig, world: &ModelConfig, run: &RunDirectory) {
    if config.transforms.iter().any(|transform| transform.crops()) {
        say(
            "transforms: planners get whole pictures, of the model's `image_size`, neither cropped nor with borders",
        );
    }
    if matches!(world, ModelConfig::DinoWm(_))
        && config.encoder.is_none()
        && run.last_checkpoint().is_none()
    {
        say("encoder: random, and not trained; `encoder` names a checkpoint to take one from");
    }
}

/// Refuses statistics that nothing can be scaled by, before they scale anything.
fn check(interface: &Interface, shape: &Shape) -> Result<()> {
    let actions = &interface.actions;
    actions.validate(shape.action)?;
    interface.states.validate(shape.state)?;
    let still = (0..shape.action).find(|&value| actions.is_still(value));
    if let (Some(still), true) = (still, shape.symmetries) {
        bail!(
            "`symmetries`: expected actions that move along both axes, found value {still} never moving; --set jepa.symmetries=false takes scenes as recorded"
        );
    }
    Ok(())
}

/// Where the encoder is that a configuration names. A run that goes on has it in its own checkpoints; where it came from may be gone, or another
/// by now.
fn encoder(config: &TrainRunConfig, run: &RunDirectory) -> Option<PathBuf> {
    let first = config.encoder.clone()?;
    let last = run.last_checkpoint();
    Some(last.map_or(first, |last| last.join("model")))
}

/// Puts an encoder in, with its activation.
fn with_encoder(model: Model, encoder: Option<&Path>, device: &Device) -> Result<Model> {
    let (model, path) = match (model, encoder) {
        (model, None) => return Ok(model),
        (Model::DinoWm(model), Some(path)) => (model, path),
        _ => bail!("`encoder`: expected only beside [dino-wm], whose encoder is not trained"),
    };
    let wanted = &model.config().encoder;
    let dinov2 = dinov2_weights(path);
    let (encoder, activation) = if let Some(weights) = &dinov2 {
        let encoder = Encoder::load_dinov2(model.config(), weights, device)?;
        (encoder, model.config().activation)
    } else {
        let other = WorldModel::load(path, device)?;
        let found = other.model().config().encoder().clone();
        ensure!(
            *wanted == found && model.config().image_size == other.shape().image_size,
            "`encoder`: expected {wanted:?} at {} px as [dino-wm] says, found {found:?} at {} px in {}",
            model.config().image_size,
            other.shape().image_size,
            path.display()
        );
        let activation = other.model().config().activation();
        (other.model().encoder().clone(), activation)
    };
    Ok(Model::DinoWm(model.with_encoder(encoder, activation)))
}

/// DINOv2's weights, where a path leads to some: a file, or a folder as Hugging Face has it. None where it is a folder of ours.
fn dinov2_weights(path: &Path) -> Option<PathBuf> {
    if !path.is_dir() {
        return Some(path.to_path_buf());
    }
    let config = std::fs::read_to_string(path.join("config.json")).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap_or_default();
    config.get("model_type")?;
    let names = ["model.safetensors", "pytorch_model.bin"];
    let files = names.map(|name| path.join(name));
    files
        .iter()
        .find(|file| file.is_file())
        .or(files.first())
        .cloned()
}

/// A world model in training.
#[derive(Module, Debug)]
pub(crate) struct WorldModelTraining {
    pub(crate) model: Model,
}

impl Trainable for WorldModelTraining {
    type Batch = TrainingBatch;

    fn loss(&self, batch: TrainingBatch, context: StepContext) -> Result<Loss, BoxError> {
        let loss = self.model.loss(batch, &mut context.stream("jepa"));
        Ok(Loss {
            total: loss.total,
            figures: loss.figures,
        })
    }
}

/// Windows of a recording for a world model.
struct Windows {
    loader: Arc<WindowLoader>,
    /// Whether they are drawn all alike.
    even: bool,
    interface: Interface,
    config: ModelConfig,
    /// The model's, which an encoder may have brought.
    activation: Activation,
    seed: u64,
    device: Device,
}

impl BatchSource for Windows {
    type Batch = TrainingBatch;

    fn batch(&mut self, step: u64) -> Result<TrainingBatch, BoxError> {
        let mut windows = self.loader.batch(step)?;
        // Before windows are turned: sprites lie before a ground that never turns.
        let rotated = self.config.wants_rotated().then(|| {
            let generator = &mut stream(self.seed, "rotations", step);
            Rotated::draw(&windows, generator, &self.device)
        });
        if self.config.shape().symmetries {
            armilla_world::turn(&mut windows, &mut stream(self.seed, "symmetries", step))?;
        }
        let batch =
            TrainingBatch::from_windows(&windows, &self.interface, &self.config, &self.device)?;
        Ok(TrainingBatch { rotated, ..batch })
    }

    fn state(&self) -> serde_json::Value {
        let settings = serde_json::to_value(&self.config).unwrap_or_default();
        let mut state = state_of_source(&self.loader, &settings);
        state["even_windows"] = self.even.into();
        state["activation"] = serde_json::to_value(self.activation).unwrap_or_default();
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;
    use armilla_nn::checkpoint;
    use armilla_world::{DinoWmConfig, JepaConfig};

    #[test]
    fn an_encoder_brings_its_activation() {
        let (directory, device) = (tempfile::tempdir().unwrap(), Device::flex());
        let source = Source::open("train/push-t-dino-wm").unwrap();
        let config: TrainRunConfig = source.parse().unwrap();
        let dino_wm = config.dino_wm.clone().unwrap();
        let jepa = JepaConfig {
            image_size: dino_wm.image_size,
            encoder: dino_wm.encoder.clone(),
            activation: Activation::Relu,
            ..JepaConfig::nano()
        };
        let interface = Interface {
            cameras: vec!["top".to_owned()],
            actions: ActionScale {
                mean: vec![0.0; 2],
                std: vec![1.0; 2],
                low: vec![-1.0; 2],
                high: vec![1.0; 2],
            },
            states: StateScale::default(),
            rate_hz: None,
        };
        let jepa = Model::Jepa(jepa.init(0, &device).unwrap());
        let jepa = WorldModel::new(&jepa, interface).unwrap();
        jepa.save(directory.path()).unwrap();
        let model = Model::DinoWm(dino_wm.init(0, &device).unwrap());
        assert_eq!(model.config().activation(), Activation::Silu);
        let model = with_encoder(model, Some(directory.path()), &device).unwrap();
        assert_eq!(model.config().activation(), Activation::Relu);
    }

    /// A file of DINOv2's weights and a folder as Hugging Face has it are the same encoder; what is none is told by its own names.
    #[test]
    fn an_encoder_may_be_dinov2s() {
        let (directory, device) = (tempfile::tempdir().unwrap(), Device::flex());
        let published = "../armilla-world/fixtures/dino_wm/model.safetensors";
        let published = Path::new(env!("CARGO_MANIFEST_DIR")).join(published);
        let (published, _) = checkpoint::read(&published).unwrap();
        let backbone = published.into_iter().filter_map(|(name, data)| {
            let name = name.strip_prefix("backbone.")?;
            Some((name.to_owned(), data))
        });
        let backbone: checkpoint::Weights = backbone.collect();
        let file = directory.path().join("model.safetensors");
        checkpoint::write(&file, &backbone, &checkpoint::Metadata::new()).unwrap();
        std::fs::write(
            directory.path().join("config.json"),
            r#"{"model_type": "dinov2"}"#,
        )
        .unwrap();
        let config = |layers: usize| -> DinoWmConfig {
            let text = format!(
                "image_size = 8\n[encoder]\nkind = \"vision_transformer\"\npatch = 4\nwidth = 24\nlayers = {layers}\nheads = 3\nhidden = 96\nlayer_scale = true"
            );
            toml::from_str(&text).unwrap()
        };
        let with = |layers: usize, path: &Path| {
            let model = Model::DinoWm(config(layers).init(0, &device).unwrap());
            with_encoder(model, Some(path), &device)
        };
        let [from_file, from_folder] = [&file, directory.path()].map(|path| {
            let model = with(2, path).unwrap();
            assert_eq!(model.config().activation(), config(2).activation);
            let mut weights = checkpoint::weights(&model);
            weights.retain(|name, _| name.contains("encoder."));
            weights
        });
        assert!(!from_file.is_empty() && from_file == from_folder);
        let positions = &backbone["embeddings.position_embeddings"];
        let found = from_file
            .iter()
            .find(|(name, _)| name.ends_with("positions"));
        assert!(found.unwrap().1.iter::<f32>().eq(positions.iter::<f32>()));
        let said = with(3, directory.path()).unwrap_err().to_string();
        assert!(said.contains("`encoder.layer.2."), "{said}");
    }
}
