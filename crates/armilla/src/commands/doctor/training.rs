//! What training needs of a device: the optimiser's arithmetic, a loss that falls, and memory that stays.

use anyhow::{Context as _, Result};
use armilla_core::random::stream;
use armilla_nn::layers::{Linear, LinearConfig, StridedConv, StridedConvConfig};
use armilla_nn::optimization::{self, AdamWStep};
use armilla_nn::random::{normal, seeded};
use armilla_nn::reduction::mean_squared_error;
use armilla_nn::transformer::{Block, BlockConfig};
use armilla_nn::{Activation, Precision};
use armilla_train::{
    BoxError, Control, Loss, Progress, RunDirectory, StepContext, TrainConfig, Trainable, Training,
};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{Check, Tell, largest_error, training_device};
use crate::commands::bench::{Same, models};
use crate::machine::memory_mib;

/// Steps in which one batch is learned by heart.
const LEARN: u64 = 40;
/// The most of its first loss that may be left then.
const LEFT: f64 = 0.7;
/// What memory may grow by, MiB: an allocator is not exact.
const GROWTH_MIB: f64 = 16.0;

/// Trains the demo's world model and its policy on one batch each.
pub(super) fn learn(device: &Device, precision: Precision, tell: &mut Tell<'_>) -> Result<()> {
    let device = training_device(device);
    let batch = models::world_model_batch(8, &device)?;
    let world_model = models::world_model(&device)?;
    let mut check = |name: &str, found| {
        tell(Check {
            name: format!("{name}, {LEARN} steps on one batch"),
            precision,
            measured: "loss left",
            found,
            limit: LEFT,
        })
    };
    check("world model", loss_left(world_model, batch, precision)?)?;
    let batch = models::policy_batch(8, &device);
    let policy = models::policy_training(&device)?;
    check("policy", loss_left(policy, batch, precision)?)
}

/// The mean loss of the last tenth of the steps over that of the first.
fn loss_left<M: Trainable>(model: M, batch: M::Batch, precision: Precision) -> Result<f64>
where
    M::Batch: Clone,
{
    let mut losses = Vec::new();
    let config = TrainConfig {
        steps: LEARN,
        precision,
        ..settings()
    };
    train(model, batch, &config, |progress| losses.push(progress.loss))?;
    let tenth = losses.len() / 10;
    let sum = |losses: &[f64]| losses.iter().sum::<f64>();
    Ok(sum(&losses[losses.len() - tenth..]) / sum(&losses[..tenth]))
}

fn settings() -> TrainConfig {
    TrainConfig {
        learning_rate: 1e-3,
        warmup_steps: 0,
        log_every: u64::MAX,
        ..TrainConfig::default()
    }
}

/// Steps of the trainer on the same batch again and again.
fn train<M: Trainable>(
    model: M,
    batch: M::Batch,
    config: &TrainConfig,
    mut watch: impl FnMut(&Progress),
) -> Result<()>
where
    M::Batch: Clone,
{
    let folder = std::env::temp_dir().join(format!("armilla-doctor-{}", std::process::id()));
    let run = RunDirectory::create(&folder, "")?;
    let training = Training {
        source: &mut Same(batch),
        config,
        run: &run,
        export: &|_, _| Ok(()),
        validation: None,
        saved: &mut |_, _| Ok(()),
        progress: &mut |progress| {
            watch(progress);
            Control::Continue
        },
    };
    let trained = armilla_train::train(model, training);
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("cannot remove {}", folder.display()))?;
    trained?;
    Ok(())
}

/// One step of AdamW against its formula.
pub(super) fn adamw(device: &Device) -> Check {
    const VALUES: usize = 1001;
    let draw = |name| normal::<1>(&mut stream(0, name, 0), [VALUES], device);
    let [value, first, gradient] = ["value", "first", "gradient"].map(draw);
    let second = draw("second").square();
    let step = AdamWStep {
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        rate: 0.01,
        root_correction: 0.3,
        kept: 0.999,
    };
    let numbers = |tensor: &Tensor<1>| tensor.to_data().iter::<f64>().collect::<Vec<_>>();
    let before = [&value, &first, &second, &gradient].map(numbers);
    let after = optimization::adamw([value, first, second], gradient, step);
    let found: Vec<_> = after.iter().flat_map(numbers).collect();
    let of =
        |index: usize| adamw_by_formula([0, 1, 2, 3].map(|part: usize| before[part][index]), step);
    let expected: Vec<_> = (0..VALUES).map(of).collect();
    let expected: Vec<_> = (0..3)
        .flat_map(|part| expected.iter().map(move |values| values[part]))
        .collect();
    Check {
        name: "AdamW".to_owned(),
        precision: Precision::F32,
        measured: "error",
        found: largest_error(&found, &expected, 0.0),
        limit: 1e-4,
    }
}

fn adamw_by_formula([value, first, second, gradient]: [f64; 4], step: AdamWStep) -> [f64; 3] {
    let [beta1, beta2] = [step.beta1, step.beta2].map(f64::from);
    let first = beta1 * first + (1.0 - beta1) * gradient;
    let second = beta2 * second + (1.0 - beta2) * gradient * gradient;
    let spread = second.sqrt() / f64::from(step.root_correction) + f64::from(step.epsilon);
    let value = f64::from(step.kept) * value - f64::from(step.rate) * first / spread;
    [value, first, second]
}

/// A network with one of each that takes memory: convolution, attention, linear layer.
#[derive(Module, Debug)]
struct Tiny {
    patches: StridedConv,
    block: Block,
    head: Linear,
}

impl Trainable for Tiny {
    type Batch = (Tensor<4>, Tensor<3>);

    fn loss(&self, (images, target): Self::Batch, _: StepContext) -> Result<Loss, BoxError> {
        let grid = self.patches.activated(images, Activation::Gelu);
        let [batch, rows, columns, width] = grid.dims();
        let tokens = grid.reshape([batch, rows * columns, width]);
        let found = self.head.forward(self.block.forward(tokens, None));
        Ok(Loss {
            total: mean_squared_error(found, target),
            figures: Vec::new(),
        })
    }
}

/// Whether memory stays as it is over training steps, once the first tenth has filled the pools; none where the system does not tell it.
pub(super) fn memory(device: &Device, steps: u64) -> Result<Option<Check>> {
    if memory_mib(device).is_none() {
        return Ok(None);
    }
    let place = training_device(device);
    let model = seeded(&place, 0, || Tiny {
        patches: StridedConvConfig::new(3, 16).init(&place),
        block: BlockConfig::new(16, 2).init(&place),
        head: LinearConfig::new(16, 4).init(&place),
    });
    let batch = (
        normal(&mut stream(0, "images", 0), [8, 16, 16, 3], &place),
        normal(&mut stream(0, "target", 0), [8, 64, 4], &place),
    );
    let config = TrainConfig {
        steps,
        accumulation: 2,
        ..settings()
    };
    let (mut start, mut peak) = (None::<f64>, 0.0f64);
    train(model, batch, &config, |progress| {
        let held = memory_mib(device).unwrap_or(f64::NAN);
        if progress.step > steps / 10 {
            start = start.or(Some(held));
            peak = peak.max(held);
        }
    })?;
    let start = start.unwrap_or(f64::NAN);
    Ok(Some(Check {
        name: format!("memory over {steps} steps, {start:.0} to {peak:.0} MiB"),
        precision: Precision::F32,
        measured: "growth, MiB",
        found: peak - start,
        limit: GROWTH_MIB,
    }))
}
