//! Training a policy.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use armilla_core::features::{ACTION, STATE};
use armilla_data::{WindowLoader, WindowSpec};
use armilla_nn::random::seeded;
use armilla_train::{BatchSource, BoxError, Loss, RunDirectory, StepContext, Trainable};
use armilla_vla::{
    FlowBatch, FlowPolicy, FlowPolicyConfig, NormalizationModes, PolicyShape, Processor, Tokenizer,
    TrainedPolicy,
};
use burn::module::Module;
use burn::tensor::Device;

use super::data::TrainingData;
use super::{TrainOutcome, TrainRunConfig, finish};
use crate::progress::say;

/// Trains one.
pub(super) fn train(
    config: &TrainRunConfig,
    policy: &FlowPolicyConfig,
    data: &TrainingData,
    run: &RunDirectory,
    device: &Device,
) -> Result<TrainOutcome> {
    let spec = WindowSpec {
        allow_short_tail: true,
        ..WindowSpec::new(&[0], policy.action_horizon)
    };
    let loader = Arc::new(data.loader(config, spec, 1)?);
    let processor = Processor::new(
        Tokenizer::train(data.tasks())?,
        &loader.statistics(),
        NormalizationModes::default(),
        policy.text.max_tokens,
    )?;
    let shape = PolicyShape {
        camera: data.cameras(1)?.remove(0),
        height: loader.cameras()[0].height,
        width: loader.cameras()[0].width,
        state: processor.width(STATE),
        action: processor.width(ACTION),
        vocabulary: processor.tokenizer().vocabulary(),
    };
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
    loader: Arc<WindowLoader>,
    processor: Processor,
    device: Device,
}

impl BatchSource for PolicyWindows {
    type Batch = FlowBatch;

    fn batch(&mut self, step: u64) -> Result<FlowBatch, BoxError> {
        Ok(FlowBatch::from_windows(
            &self.loader.batch(step)?,
            &self.processor,
            &self.device,
        )?)
    }

    fn state(&self) -> serde_json::Value {
        serde_json::to_value(self.loader.state()).unwrap_or_default()
    }
}
