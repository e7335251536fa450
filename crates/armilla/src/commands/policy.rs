//! `armilla policy`: a checkpoint's actions and losses on a batch in a file, to be held against another's.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use armilla_nn::checkpoint::{self, Metadata, Weights};
use armilla_vla::lerobot::exchange::Exchange;
use armilla_vla::load_policy;
use burn::tensor::Tensor;
use clap::{Args, Subcommand};

use crate::hub::{self, HubType};
use crate::progress::say;

/// What can be asked of a policy.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Act on a batch of observations in a file: what LeRobot's `predict_action_chunk` and postprocessor give.
    Infer(InferArguments),
    /// The loss of a batch in a file, with nothing dropped, and its gradients.
    Loss(LossArguments),
}

/// Files in and out.
#[derive(Args, Debug)]
pub(crate) struct ExchangeArguments {
    /// The policy's checkpoint folder, or OWNER/NAME on the hub.
    pub checkpoint: PathBuf,
    /// Safetensors under LeRobot's keys: `observation.state` [batch, state], `observation.images.NAME` [batch, channel, height, width]
    /// in [0, 1], each with the history as second axis where the policy has one; instructions as `task` in the metadata, a JSON
    /// list; what is drawn, where it is to be given, such as `noise`; and for `loss` the `action` [batch, horizon, action] and, if any is,
    /// `action_is_pad` [batch, horizon].
    #[arg(long)]
    pub input: PathBuf,
    /// Safetensors to write: `action` and `action_normalized` [batch, steps, action], or `loss`.
    #[arg(long)]
    pub output: PathBuf,
    /// Seed of what is drawn and not given, such as noise.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where to compute: cpu, or with its cargo feature cuda:N or vulkan.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// Arguments of `policy infer`.
#[derive(Args, Debug)]
pub(crate) struct InferArguments {
    /// Files in and out.
    #[command(flatten)]
    pub exchange: ExchangeArguments,
}

/// Arguments of `policy loss`.
#[derive(Args, Debug)]
pub(crate) struct LossArguments {
    /// Files in and out.
    #[command(flatten)]
    pub exchange: ExchangeArguments,
    /// Write `grad.NAME` as well, under the checkpoint's own names.
    #[arg(long)]
    pub grads: bool,
}

/// Runs `armilla policy`.
pub(super) fn run(command: &PolicyCommand) -> Result<()> {
    match command {
        PolicyCommand::Infer(arguments) => infer(arguments),
        PolicyCommand::Loss(arguments) => loss(arguments),
    }
}

impl ExchangeArguments {
    fn read(&self) -> Result<Exchange> {
        let (arrays, metadata) = checkpoint::read(&self.input)?;
        Ok(Exchange::new(arrays, metadata))
    }

    fn checkpoint(&self) -> Result<PathBuf> {
        hub::folder(HubType::Model, &self.checkpoint)
    }

    fn write(&self, arrays: &Weights) -> Result<()> {
        checkpoint::write(&self.output, arrays, &Metadata::new())?;
        say(&format!("written to {}", self.output.display()));
        Ok(())
    }
}

fn infer(arguments: &InferArguments) -> Result<()> {
    let exchange = &arguments.exchange;
    let device = armilla_nn::device::parse(&exchange.device)?;
    let policy = load_policy(&exchange.checkpoint()?, &device)?;
    let input = exchange.read()?;
    let acted = input.act(policy.as_ref(), exchange.seed, &device);
    let acted = acted.with_context(|| in_file(&exchange.input))?;
    say_unread(&input);
    let arrays = [
        ("action", acted.action),
        ("action_normalized", acted.normalized),
    ];
    let arrays = arrays.map(|(name, tensor)| (name.to_owned(), tensor.into_data()));
    exchange.write(&arrays.into())
}

fn loss(arguments: &LossArguments) -> Result<()> {
    let exchange = &arguments.exchange;
    // As in training, with or without gradients to write: batch normalisation has other moments when a policy acts.
    let device = armilla_nn::device::parse(&exchange.device)?.autodiff();
    let policy = load_policy(&exchange.checkpoint()?, &device)?;
    let input = exchange.read()?;
    let loss = input.loss(policy.as_ref(), exchange.seed, &device);
    let loss: Tensor<1> = loss.with_context(|| in_file(&exchange.input))?;
    say_unread(&input);
    let mut arrays: Weights = [("loss".to_owned(), loss.clone().into_data())].into();
    if arguments.grads {
        let gradients = policy.gradients(&loss).into_iter();
        arrays.extend(gradients.map(|(name, data)| (format!("grad.{name}"), data)));
    }
    exchange.write(&arrays)
}

/// Names the arrays that the policy left aside: a key with a typing error would otherwise be drawn anew without a word.
fn say_unread(input: &Exchange) {
    let unread = input.unread();
    if !unread.is_empty() {
        say(&format!("left aside: {}", unread.join(", ")));
    }
}

fn in_file(path: &Path) -> String {
    format!("{}, against the checkpoint", path.display())
}
