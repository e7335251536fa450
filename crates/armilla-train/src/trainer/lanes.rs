//! The batches of a step: side by side on the CPU, one after another on a GPU.

use armilla_nn::{Precision, lanes};
use burn::tensor::Tensor;

use crate::config::TrainConfig;
use crate::error::{Error, Result};
use crate::gradients::Gradients;
use crate::model::{Loss, StepContext, Trainable};

/// What one batch of a step gave.
pub(super) struct Micro {
    pub(super) loss: f64,
    pub(super) figures: Vec<(&'static str, f64)>,
    pub(super) gradients: Gradients,
}

impl Micro {
    fn new<M: Trainable>(model: &M, batch: M::Batch, context: StepContext) -> Result<Self> {
        let loss = model.loss(batch, context);
        let step = context.step + 1;
        let Loss { total, figures } = loss.map_err(|source| Error::Batch { step, source })?;
        let (names, figures): (Vec<_>, Vec<_>) = figures.into_iter().unzip();
        let mut values = vec![total.clone().detach()];
        values.extend(figures.into_iter().map(Tensor::detach));
        let mut gradients = Gradients::default();
        gradients.add(model, total.backward());
        // Read once and last: a GPU has by then been given all there is to do.
        let values = Tensor::cat(values, 0).into_data();
        let mut values = values.iter::<f64>();
        Ok(Self {
            loss: values.next().unwrap_or(f64::NAN),
            figures: names.into_iter().zip(values).collect(),
            gradients,
        })
    }
}

/// How the batches of a step are computed.
pub(super) struct Lanes {
    /// Threads for batches side by side: each batch has its own, so that none waits for another's. None on a GPU, where batches are
    /// computed one after another by the thread that trains: each uses all of it, and memory is kept for every thread.
    pools: Option<lanes::Lanes>,
    precision: Precision,
}

impl Lanes {
    /// On the CPU as many as a step has batches and the machine has cores.
    pub(super) fn new<M: Trainable>(model: &M, config: &TrainConfig) -> Result<Self> {
        let devices = model.devices();
        let on_cpu = devices.iter().all(armilla_nn::device::is_cpu);
        let precision = config.precision;
        if let Some(device) = devices.iter().find(|device| !precision.runs_on(device)) {
            return Err(Error::PrecisionMissing {
                device: armilla_nn::device::describe(device),
            });
        }
        if on_cpu && precision == Precision::Bf16 {
            tracing::warn!("bf16 on the CPU is slower than f32 and good for tests only");
        }
        let batches = usize::try_from(config.accumulation).unwrap_or(usize::MAX);
        let pools = on_cpu.then(|| lanes::Lanes::new(batches));
        let pools = pools
            .transpose()
            .map_err(|source| Error::Threads { source })?;
        Ok(Self { pools, precision })
    }

    /// Computes batches, as many side by side as there are lanes, and hands over what each gave in their order. All but the first
    /// work on copies of the model, so that neither their graphs nor the running statistics of batch normalisation meet: those are
    /// moved by the first batch alone, whatever ends when.
    pub(super) fn compute<M: Trainable>(
        &self,
        model: &M,
        batches: Vec<M::Batch>,
        context: StepContext,
        take: &mut dyn FnMut(Micro) -> Result<()>,
    ) -> Result<()> {
        // Running statistics wait to be taken on until the thread that moved them, or one that asks for all, comes by. Here it is the
        // thread that trains, before anything is begun: which thread of a lane moved them must not matter.
        let settled = model.valid();
        let work = |(batch, micro)| {
            let context = StepContext { micro, ..context };
            // A clone shares weights, graph and running statistics.
            let model = match micro {
                0 => model.clone(),
                _ => settled.valid().train(),
            };
            let precision = self.precision;
            move || precision.scope(|| Micro::new(&model, batch, context))
        };
        let mut batches = batches.into_iter().zip(0..).map(work).peekable();
        let Some(pools) = &self.pools else {
            return batches.try_for_each(|work| take(work()?));
        };
        while batches.peek().is_some() {
            let group = batches.by_ref().take(pools.count());
            let mut done = pools.run(group).into_iter();
            done.try_for_each(|micro| take(micro?))?;
        }
        Ok(())
    }
}
