//! The loop.

mod lanes;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use crate::checkpoint::State;
use crate::config::TrainConfig;
use crate::error::{BoxError, Error, Result, file_error};
use crate::gradients::Gradients;
use crate::metrics::{MetricsLine, MetricsWriter};
use crate::model::{BatchSource, StepContext, Trainable};
use crate::run::RunDirectory;
use lanes::Lanes;

/// Writes a model, as it is to be used, into an empty folder.
pub type Export<'a, M> = dyn Fn(&M, &Path) -> std::result::Result<(), BoxError> + 'a;

/// How far a run is, after each step.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps to do in all.
    pub steps: u64,
    /// The loss of the last step.
    pub loss: f64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// Seconds a step, over the steps since the start or since resuming.
    pub seconds_per_step: f64,
    /// What the model reported beside the loss.
    pub figures: Vec<(&'static str, f64)>,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Write a checkpoint and return.
    Stop,
}

/// A finished or stopped run.
#[derive(Clone, Debug)]
pub struct Trained<M> {
    /// The model as exported: averaged where averaging is on, without autodiff.
    pub model: M,
    /// Steps done.
    pub step: u64,
    /// Whether it was stopped before its last step.
    pub stopped: bool,
    /// Seconds of training, those before resuming included.
    pub seconds: f64,
    /// The last checkpoint, whose exported model lies in the folder `model` in it.
    pub checkpoint: PathBuf,
}

/// What a run is made of besides its model.
pub struct Training<'a, M: Trainable> {
    /// Where batches come from.
    pub source: &'a mut dyn BatchSource<Batch = M::Batch>,
    /// The settings.
    pub config: &'a TrainConfig,
    /// The run's folder.
    pub run: &'a RunDirectory,
    /// How a model is exported.
    pub export: &'a Export<'a, M>,
    /// What the model is also measured on, if anything.
    pub validation: Option<Validation<'a, M>>,
    /// Called after each checkpoint with its folder, whose exported model lies in the folder `model` in it.
    pub saved: &'a mut dyn FnMut(u64, &Path) -> std::result::Result<(), BoxError>,
    /// Called after each step.
    pub progress: &'a mut dyn FnMut(&Progress) -> Control,
}

/// Batches that a model does not learn from.
pub struct Validation<'a, M: Trainable> {
    /// Where they come from; on a device without autodiff.
    pub source: &'a mut dyn BatchSource<Batch = M::Batch>,
    /// The first so many of them, always the same.
    pub batches: u64,
    /// Steps between measurements.
    pub every: u64,
}

impl<M: Trainable> Validation<'_, M> {
    /// The mean loss of the model as it would be exported, where a step is one to measure at.
    fn loss_if_due(&mut self, state: &State<M>, config: &TrainConfig) -> Result<Option<f64>> {
        if !state.step.is_multiple_of(self.every) && state.step != config.steps {
            return Ok(None);
        }
        let model = state.exported()?;
        let step = state.step;
        let mut sum = 0.0;
        for micro in 0..self.batches {
            let failed = |source| Error::Batch { step, source };
            let batch = self.source.batch(micro).map_err(failed)?;
            // The same noise each time.
            let context = StepContext {
                seed: config.seed,
                step: 0,
                micro,
            };
            let loss = config.precision.scope(|| model.loss(batch, context));
            sum += f64::from(loss.map_err(failed)?.total.into_scalar::<f32>());
        }
        Ok(Some(sum / self.batches.max(1) as f64))
    }
}

/// Trains a model from the run's last checkpoint, or from the weights it comes with where there is none.
///
/// # Errors
///
/// If a setting is out of range, a batch cannot be loaded, a loss or gradient is not finite, a file cannot be written, or the
/// last checkpoint does not fit the model and settings. The last checkpoint stays intact.
pub fn train<M: Trainable>(model: M, training: Training<'_, M>) -> Result<Trained<M>> {
    let Training {
        source,
        config,
        run,
        export,
        mut validation,
        saved: heed,
        progress,
    } = training;
    config.validate()?;
    let model = model.train();
    let mut state = begin(model, config, run, source.state())?;
    let mut metrics = MetricsWriter::resume(&run.metrics(), state.step)?;
    let clock = Clock::start(&state);
    let lanes = Lanes::new(&state.model, config)?;
    let mut control = Control::Continue;
    // What a run that is done already ends with is not written again.
    let mut saved = run.last_checkpoint().map(|last| (state.step, last));
    let first = state.step;
    let (sender, batches) = sync_channel(0);
    state = std::thread::scope(|scope| {
        let batches = batches; // Dropped at the end of this block, which ends the loading.
        scope.spawn(move || load_all(source, config, first, &sender));
        while state.step < config.steps && control == Control::Continue {
            let mut report;
            (state, report) = step(state, next(&batches)?, config, run, &lanes)?;
            state.seconds = clock.seconds();
            let loss = validation
                .as_mut()
                .map(|kept| kept.loss_if_due(&state, config));
            let loss = loss.transpose()?.flatten();
            let figure = loss.map(|loss| ("validation_loss", loss));
            report.figures.extend(figure);
            let last = state.step == config.steps;
            if last || loss.is_some() || state.step.is_multiple_of(config.log_every) {
                metrics.append(&report.line(&state))?;
            }
            control = progress(&report.progress(&state, config, &clock));
            if config.checkpoint_every > 0 && state.step.is_multiple_of(config.checkpoint_every) {
                saved = Some((state.step, save(&state, config, run, export)?));
                heeded(heed, saved.as_ref())?;
            }
        }
        Ok::<_, Error>(state)
    })?;
    let checkpoint = match saved {
        Some((step, checkpoint)) if step == state.step => checkpoint,
        _ => {
            let checkpoint = save(&state, config, run, export)?;
            heeded(heed, Some(&(state.step, checkpoint.clone())))?;
            checkpoint
        }
    };
    Ok(Trained {
        model: state.exported()?,
        step: state.step,
        stopped: state.step < config.steps,
        seconds: state.seconds,
        checkpoint,
    })
}

/// Tells of a checkpoint.
fn heeded(
    heed: &mut dyn FnMut(u64, &Path) -> std::result::Result<(), BoxError>,
    saved: Option<&(u64, PathBuf)>,
) -> Result<()> {
    let Some((step, path)) = saved else {
        return Ok(());
    };
    heed(*step, path).map_err(|source| Error::Heed {
        path: path.clone(),
        source,
    })
}

/// The state to begin with: the run's last checkpoint's, or a new one where there is none.
fn begin<M: Trainable>(
    model: M,
    config: &TrainConfig,
    run: &RunDirectory,
    data: serde_json::Value,
) -> Result<State<M>> {
    let state = match run.last_checkpoint() {
        None => State::new(model, config, data),
        Some(checkpoint) => {
            tracing::info!(checkpoint = %checkpoint.display(), "resuming");
            State::load(model, &checkpoint, config, data)?
        }
    };
    state.optimizer.check_ratios(config)?;
    Ok(state)
}

fn save<M: Trainable>(
    state: &State<M>,
    config: &TrainConfig,
    run: &RunDirectory,
    export: &Export<'_, M>,
) -> Result<PathBuf> {
    run.write_checkpoint(state.step, |folder| {
        let path = folder.join("model");
        std::fs::create_dir_all(&path).map_err(file_error("create", &path))?;
        export(&state.exported()?, &path).map_err(|source| Error::Export { path, source })?;
        state.save(folder, config)
    })
}

struct Clock {
    started: Instant,
    seconds_before: f64,
    step_before: u64,
}

impl Clock {
    fn start<M>(state: &State<M>) -> Self {
        Self {
            started: Instant::now(),
            seconds_before: state.seconds,
            step_before: state.step,
        }
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    fn seconds_per_step(&self, step: u64) -> f64 {
        self.started.elapsed().as_secs_f64() / (step - self.step_before).max(1) as f64
    }
}

/// What one step gave.
struct StepReport {
    loss: f64,
    learning_rate: f64,
    grad_norm: f64,
    figures: Vec<(&'static str, f64)>,
}

impl StepReport {
    fn line<M>(&self, state: &State<M>) -> MetricsLine {
        // Lines of metrics hold numbers alone, and training can go on without a figure that is none.
        let named = |(name, value): &(&str, f64)| {
            if !value.is_finite() {
                let step = state.step;
                tracing::warn!("step {step}: {name} is {value}, left out of the metrics");
            }
            value.is_finite().then(|| ((*name).to_owned(), *value))
        };
        MetricsLine {
            step: state.step,
            loss: self.loss,
            learning_rate: self.learning_rate,
            grad_norm: self.grad_norm,
            seconds: state.seconds,
            figures: self.figures.iter().filter_map(named).collect(),
        }
    }

    fn progress<M>(&self, state: &State<M>, config: &TrainConfig, clock: &Clock) -> Progress {
        Progress {
            step: state.step,
            steps: config.steps,
            loss: self.loss,
            learning_rate: self.learning_rate,
            seconds_per_step: clock.seconds_per_step(state.step),
            figures: self.figures.clone(),
        }
    }
}

/// Loads the batches of every step from one on, each while the step before it is computed, until nobody takes them or one fails.
///
/// One thread loads all: a GPU's backend keeps memory for every thread that made a tensor.
fn load_all<B>(
    source: &mut dyn BatchSource<Batch = B>,
    config: &TrainConfig,
    first: u64,
    sender: &SyncSender<Result<Vec<B>>>,
) {
    for step in first..config.steps {
        let batches = load(source, config, step);
        let failed = batches.is_err();
        if sender.send(batches).is_err() || failed {
            return;
        }
    }
}

/// The next step's batches, once they are loaded.
fn next<B>(batches: &Receiver<Result<Vec<B>>>) -> Result<Vec<B>> {
    batches.recv().expect(
        "the thread that loads batches ends early only where a batch failed or its source panicked",
    )
}

/// The batches of a step.
fn load<B>(
    source: &mut dyn BatchSource<Batch = B>,
    config: &TrainConfig,
    step: u64,
) -> Result<Vec<B>> {
    let first = step * config.accumulation;
    let micros = first..first + config.accumulation;
    let failed = |source| Error::Batch {
        step: step + 1,
        source,
    };
    micros
        .map(|micro| source.batch(micro).map_err(failed))
        .collect()
}

/// One optimiser step. The state is taken, so that the weights are not shared and can be updated in place.
fn step<M: Trainable>(
    mut state: State<M>,
    batches: Vec<M::Batch>,
    config: &TrainConfig,
    run: &RunDirectory,
    lanes: &Lanes,
) -> Result<(State<M>, StepReport)> {
    let step = state.step;
    let not_finite = |figure: &str| Error::NotFinite {
        step: step + 1,
        figure: figure.to_owned(),
        checkpoint: run.last_checkpoint().map_or_else(
            || "there is no checkpoint yet".to_owned(),
            |path| format!("the last checkpoint ({}) is intact", path.display()),
        ),
    };
    let mut gradients = Gradients::default();
    let mut means = Means::default();
    let context = StepContext {
        seed: config.seed,
        step,
        micro: 0,
    };
    lanes.compute(&state.model, batches, context, &mut |micro| {
        means.add(micro.loss, &micro.figures);
        if let Some(figure) = means.first_not_finite() {
            return Err(not_finite(figure));
        }
        gradients.merge(micro.gradients);
        Ok(())
    })?;
    // What stands still neither counts when gradients are clipped nor can it be what is not finite.
    gradients.keep(|path| config.learning_rate_ratio_of(path) > 0.0);
    if config.accumulation > 1 {
        gradients.scale(1.0 / config.accumulation as f64);
    }
    let grad_norm = gradients.norm();
    if !grad_norm.is_finite() {
        let path = gradients.first_not_finite().unwrap_or("all parameters");
        return Err(not_finite(&format!("the gradient of `{path}`")));
    }
    if config.clip_norm > 0.0 && grad_norm > config.clip_norm {
        gradients.scale(config.clip_norm / grad_norm);
    }
    state.model = state.optimizer.step(state.model, gradients, config, step);
    if let Some(average) = &mut state.average {
        average.update(&state.model, step);
    }
    state.step += 1;
    Ok((state, means.report(config, step, grad_norm)))
}

/// Sums of loss and figures over the batches of a step.
#[derive(Default)]
struct Means {
    loss: f64,
    figures: Vec<(&'static str, f64)>,
}

impl Means {
    fn add(&mut self, loss: f64, figures: &[(&'static str, f64)]) {
        self.loss += loss;
        for (name, figure) in figures {
            match self.figures.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += figure,
                None => self.figures.push((name, *figure)),
            }
        }
    }

    /// Where the loss is not finite, what is to blame: the first such figure, or else the loss.
    fn first_not_finite(&self) -> Option<&'static str> {
        if self.loss.is_finite() {
            return None;
        }
        let figure = self.figures.iter().find(|(_, value)| !value.is_finite());
        Some(figure.map_or("loss", |(name, _)| name))
    }

    /// What a step gave, counted from 0.
    fn report(self, config: &TrainConfig, step: u64, grad_norm: f64) -> StepReport {
        let count = config.accumulation as f64;
        let mean = |(name, sum)| (name, sum / count);
        StepReport {
            loss: self.loss / count,
            learning_rate: config.learning_rate_at(step),
            grad_norm,
            figures: self.figures.into_iter().map(mean).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
