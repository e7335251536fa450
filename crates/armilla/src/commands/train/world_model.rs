//! Training a world model.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use armilla_core::random::stream;
use armilla_data::{LaterSpec, WindowLoader, WindowSpec};
use armilla_train::{BatchSource, BoxError, Loss, RunDirectory, StepContext, Trainable};
use armilla_world::{ActionScale, Interface, Jepa, JepaBatch, JepaConfig, WorldModel};
use burn::module::Module;
use burn::tensor::Device;

use super::data::TrainingData;
use super::{TrainOutcome, TrainRunConfig, finish};
use crate::progress::say;

/// The windows a world model learns from.
pub(crate) fn windows(jepa: &JepaConfig) -> WindowSpec {
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
    jepa: &JepaConfig,
    data: &TrainingData,
    run: &RunDirectory,
    device: &Device,
) -> Result<TrainOutcome> {
    let loader = data.loader(config, windows(jepa))?;
    // Weights of the windows would undo those of the datasets.
    let loader = if config.mixture.is_empty() {
        balanced(loader)?
    } else {
        loader
    };
    let loader = Arc::new(loader);
    let scale = ActionScale::from_statistics(&data.action_statistics(&loader)?);
    let device = device.clone().autodiff();
    let model = jepa.init(config.train.seed, &device)?;
    say(&format!(
        "world model: {} parameters, {} windows",
        model.num_params(),
        loader.len()
    ));
    let interface = Interface {
        camera: data.camera()?,
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
    loader: Arc<WindowLoader>,
    scale: ActionScale,
    config: JepaConfig,
    seed: u64,
    device: Device,
}

impl BatchSource for JepaWindows {
    type Batch = JepaBatch;

    fn batch(&mut self, step: u64) -> Result<JepaBatch, BoxError> {
        let mut windows = self.loader.batch(step)?;
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

    fn state(&self) -> serde_json::Value {
        serde_json::to_value(self.loader.state()).unwrap_or_default()
    }
}
