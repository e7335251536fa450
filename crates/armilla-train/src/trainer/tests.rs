use std::collections::BTreeMap;
use std::path::PathBuf;

use armilla_core::random::stream;
use armilla_nn::Precision;
use armilla_nn::checkpoint::{Metadata, save_weights, weights};
use armilla_nn::layers::{Mlp, MlpConfig};
use armilla_nn::random;
use armilla_nn::reduction::mean_squared_error;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::*;
use crate::metrics::read_metrics;
use crate::model::Loss;

#[derive(Module, Debug)]
struct Regression {
    mlp: Mlp,
}

impl Trainable for Regression {
    type Batch = (Tensor<2>, Tensor<2>);

    fn loss(
        &self,
        (input, target): Self::Batch,
        context: StepContext,
    ) -> std::result::Result<Loss, BoxError> {
        let noise = random::normal(&mut context.stream("noise"), input.dims(), &input.device());
        let prediction = self.mlp.forward(input + noise * 0.01);
        let total = mean_squared_error(prediction, target);
        let figures = vec![("twice", total.clone().detach() * 2.0)];
        Ok(Loss { total, figures })
    }
}

/// The same batch again and again, or a new one each time; with a target that is not a number from some batch on.
struct Source {
    same: bool,
    broken_from: u64,
}

impl BatchSource for Source {
    type Batch = (Tensor<2>, Tensor<2>);

    fn batch(&mut self, micro_step: u64) -> std::result::Result<Self::Batch, BoxError> {
        let step = if self.same { 0 } else { micro_step };
        let device = device();
        let input = random::normal::<2>(&mut stream(5, "batch", step), [16, 3], &device);
        let mut target = (input.clone() * input.clone()).sum_dim(1);
        if micro_step >= self.broken_from {
            target = target * f32::NAN;
        }
        Ok((input, target))
    }
}

/// What is not learnt from, its targets scaled.
struct Kept {
    scale: f32,
}

impl BatchSource for Kept {
    type Batch = (Tensor<2>, Tensor<2>);

    fn batch(&mut self, step: u64) -> std::result::Result<Self::Batch, BoxError> {
        let device = Device::flex();
        let input = random::normal::<2>(&mut stream(5, "kept", step), [16, 3], &device);
        let target = (input.clone() * input.clone()).sum_dim(1) * self.scale;
        Ok((input, target))
    }
}

fn device() -> Device {
    Device::flex().autodiff()
}

fn model() -> Regression {
    let config = MlpConfig::new(3, 16, 1).with_depth(3).with_batch_norm(true);
    random::seeded(&device(), 11, || Regression {
        mlp: config.init(&device()),
    })
}

fn config() -> TrainConfig {
    TrainConfig {
        steps: 12,
        learning_rate: 0.01,
        warmup_steps: 3,
        weight_decay: 0.1,
        ema_decay: 0.9,
        accumulation: 2,
        log_every: 2,
        checkpoint_every: 5,
        ..TrainConfig::default()
    }
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("armilla-train-{}-{name}", std::process::id()));
    drop(std::fs::remove_dir_all(&path));
    path
}

struct Case<'a> {
    run: &'a RunDirectory,
    config: TrainConfig,
    source: Source,
    stop_at: u64,
    validation: Option<Kept>,
}

impl<'a> Case<'a> {
    fn new(run: &'a RunDirectory, config: TrainConfig) -> Self {
        let source = Source {
            same: false,
            broken_from: u64::MAX,
        };
        Self {
            run,
            config,
            source,
            stop_at: u64::MAX,
            validation: None,
        }
    }

    fn train(mut self) -> Result<Trained<Regression>> {
        let export = |model: &Regression, folder: &Path| {
            Ok(save_weights(
                model,
                &folder.join("model.safetensors"),
                &Metadata::new(),
            )?)
        };
        let stop_at = self.stop_at;
        let mut told = Vec::new();
        let mut progress = |progress: &Progress| match progress.step >= stop_at {
            true => Control::Stop,
            false => Control::Continue,
        };
        let training = Training {
            source: &mut self.source,
            config: &self.config,
            run: self.run,
            export: &export,
            validation: self.validation.as_mut().map(|source| Validation {
                source,
                batches: 2,
                every: 4,
            }),
            saved: &mut |step, checkpoint| {
                told.push((step, checkpoint.to_path_buf()));
                Ok(())
            },
            progress: &mut progress,
        };
        train(model(), training)
    }
}

/// Every file of a checkpoint that holds tensors, by its path.
fn tensors(checkpoint: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    let files = [
        "model/model.safetensors",
        "training_state/weights.safetensors",
        "training_state/moments.safetensors",
        "training_state/ema.safetensors",
    ];
    files
        .into_iter()
        .map(|file| (file, std::fs::read(checkpoint.join(file)).unwrap()))
        .collect()
}

#[test]
fn a_resumed_run_is_bit_identical_to_an_uninterrupted_one() {
    let whole = RunDirectory::create(&folder("whole"), "").unwrap();
    let expected = Case::new(&whole, config()).train().unwrap();
    assert!(!expected.stopped && expected.checkpoint.ends_with("000012"));

    let halved = RunDirectory::create(&folder("halved"), "").unwrap();
    let mut first = Case::new(&halved, config());
    first.stop_at = 7;
    let stopped = first.train().unwrap();
    assert!(stopped.stopped && stopped.step == 7, "{stopped:?}");
    assert!(halved.checkpoint(5).is_dir() && stopped.checkpoint.ends_with("000007"));
    let resumed = RunDirectory::open(halved.path()).unwrap();
    let found = Case::new(&resumed, config()).train().unwrap();

    for (file, bytes) in tensors(&expected.checkpoint) {
        assert!(tensors(&found.checkpoint)[file] == bytes, "{file} differs");
    }
    assert_eq!(weights(&found.model), weights(&expected.model));
    let lines = |run: &RunDirectory| -> Vec<(u64, f64, f64)> {
        let lines = read_metrics(&run.metrics()).unwrap();
        lines
            .iter()
            .map(|line| (line.step, line.loss, line.grad_norm))
            .collect()
    };
    assert_eq!(lines(&halved), lines(&whole));
    // Nothing is left to do: resuming a finished run gives the same model.
    let again = Case::new(&resumed, config()).train().unwrap();
    assert_eq!(weights(&again.model), weights(&expected.model));
}

#[test]
fn running_statistics_do_not_depend_on_which_thread_moved_them() {
    // One batch a step has all threads, of which another may take it each time; without an average nothing else settles them.
    let run = |name: &str, stops: &[u64]| {
        let run = RunDirectory::create(&folder(name), "").unwrap();
        let config = TrainConfig {
            accumulation: 1,
            ema_decay: 0.0,
            ..config()
        };
        let train = |stop_at| {
            let mut case = Case::new(&run, config.clone());
            case.stop_at = stop_at;
            case.train().unwrap()
        };
        stops.iter().for_each(|&stop| drop(train(stop)));
        weights(&train(u64::MAX).model)
    };
    let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build();
    threads.unwrap().install(|| {
        let expected = run("threads", &[]);
        assert_eq!(run("threads-again", &[]), expected);
        assert_eq!(run("threads-resumed", &[1, 4, 6, 7]), expected);
    });
}

#[test]
fn a_figure_that_is_no_number_is_left_out_and_the_run_goes_on() {
    let run = RunDirectory::create(&folder("no-number"), "").unwrap();
    let mut case = Case::new(&run, config());
    case.validation = Some(Kept { scale: f32::MAX });
    let trained = case.train().unwrap();
    assert_eq!(trained.step, 12);
    let lines = read_metrics(&run.metrics()).unwrap();
    assert!(
        lines
            .iter()
            .all(|line| !line.figures.contains_key("validation_loss"))
    );
    assert!(lines.iter().all(|line| line.figures.contains_key("twice")));
    assert!(Case::new(&run, config()).train().is_ok());
}

#[test]
fn what_is_kept_from_training_is_measured_and_changes_nothing() {
    let weights = [None, Some(Kept { scale: 1.0 })].map(|validation| {
        let kept = validation.is_some();
        let path = folder(&format!("validation-{kept}"));
        let run = RunDirectory::create(&path, "").unwrap();
        let mut case = Case::new(&run, config());
        case.validation = validation;
        let trained = case.train().unwrap();
        let lines = read_metrics(&run.metrics()).unwrap();
        let losses = lines.iter().filter_map(|line| {
            let loss = line.figures.get("validation_loss")?;
            Some((line.step, *loss))
        });
        let losses: Vec<_> = losses.collect();
        if kept {
            let steps: Vec<u64> = losses.iter().map(|(step, _)| *step).collect();
            assert_eq!(steps, [4, 8, 12]);
            assert!(losses[2].1 < losses[0].1, "{losses:?}");
        } else {
            assert!(losses.is_empty());
        }
        let weights = tensors(&trained.checkpoint);
        std::fs::remove_dir_all(path).unwrap();
        weights
    });
    assert!(weights[0] == weights[1]);
}

#[test]
fn lines_after_the_checkpoint_are_dropped_when_a_crashed_run_resumes() {
    let run = RunDirectory::create(&folder("crashed"), "").unwrap();
    let mut crashed = Case::new(&run, config());
    crashed.source.broken_from = 2 * 9;
    let error = crashed.train().unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("step 10: twice is not finite"),
        "{message}"
    );
    let last = run.last_checkpoint().unwrap();
    assert!(message.contains(&last.display().to_string()), "{message}");
    assert!(last.ends_with("000005"));
    let steps = |run: &RunDirectory| -> Vec<u64> {
        let lines = read_metrics(&run.metrics()).unwrap();
        lines.iter().map(|line| line.step).collect()
    };
    assert_eq!(steps(&run), [2, 4, 6, 8]);
    let mut resumed = Case::new(&run, config());
    resumed.stop_at = 6;
    resumed.train().unwrap();
    assert_eq!(steps(&run), [2, 4, 6]);
    let figures = &read_metrics(&run.metrics()).unwrap()[0];
    assert_eq!(figures.figures["twice"], 2.0 * figures.loss);
}

#[test]
fn running_statistics_are_moved_by_the_first_batch_of_a_step_alone() {
    let running = |accumulation| {
        let run = RunDirectory::create(&folder(&format!("of-{accumulation}")), "").unwrap();
        let one_step = TrainConfig {
            steps: 1,
            accumulation,
            ..config()
        };
        let trained = Case::new(&run, one_step).train().unwrap();
        let mut all = weights(&trained.model);
        all.retain(|path, _| path.contains("running"));
        all
    };
    let alone = running(1);
    assert_eq!(alone.len(), 4, "{:?}", alone.keys());
    assert_eq!(running(3), alone);
}

#[test]
fn clipping_limits_the_first_moment() {
    let all = norm_of_clipped(&[]);
    let without = norm_of_clipped(&["mlp.linears.0"]);
    assert!(
        without < all,
        "what stands still does not count: {without} {all}"
    );
}

/// The norm of one step's gradient before it was clipped, with parameters held still. What is left of it is as long as allowed.
fn norm_of_clipped(still: &[&str]) -> f64 {
    let run = RunDirectory::create(&folder(&format!("clipped-{}", still.len())), "").unwrap();
    let clipped = TrainConfig {
        steps: 1,
        clip_norm: 1e-3,
        learning_rate_ratios: still.iter().map(|&path| (path.to_owned(), 0.0)).collect(),
        ..config()
    };
    let trained = Case::new(&run, clipped).train().unwrap();
    let line = &read_metrics(&run.metrics()).unwrap()[0];
    assert!(line.grad_norm > 0.1, "the norm before clipping is logged");
    let path = trained
        .checkpoint
        .join("training_state/moments.safetensors");
    let (moments, _) = armilla_nn::checkpoint::read(&path).unwrap();
    let squares = moments
        .iter()
        .filter(|(name, _)| name.ends_with("first_moment"))
        .flat_map(|(_, data)| data.iter::<f64>())
        .map(|value| value * value)
        .sum::<f64>();
    // After one step the first moment is a tenth of the gradient, whose norm is the limit.
    assert!((squares.sqrt() - 1e-4).abs() < 1e-8, "{}", squares.sqrt());
    line.grad_norm
}

#[test]
fn one_batch_is_learned_by_heart() {
    for (name, precision, limit) in [
        ("overfit", Precision::F32, 0.05),
        ("overfit-bf16", Precision::Bf16, 0.1),
    ] {
        let run = RunDirectory::create(&folder(name), "").unwrap();
        let mut case = Case::new(
            &run,
            TrainConfig {
                steps: 300,
                accumulation: 1,
                log_every: 300,
                checkpoint_every: 0,
                weight_decay: 0.0,
                precision,
                ..config()
            },
        );
        case.source.same = true;
        case.train().unwrap();
        let loss = read_metrics(&run.metrics()).unwrap()[0].loss;
        assert!(loss < limit, "{name}: {loss}");
    }
}

#[test]
fn a_step_in_bf16_is_close_to_one_in_f32_and_keeps_its_weights_wide() {
    let after = |name: &str, precision| {
        let run = RunDirectory::create(&folder(name), "").unwrap();
        let one_step = TrainConfig {
            steps: 1,
            precision,
            ..config()
        };
        let trained = Case::new(&run, one_step).train().unwrap();
        let line = read_metrics(&run.metrics()).unwrap().remove(0);
        (line.loss, line.grad_norm, weights(&trained.model))
    };
    let exact = after("step-f32", Precision::F32);
    let rounded = after("step-bf16", Precision::Bf16);
    let close = |a: f64, b: f64| assert!(a != b && (a / b - 1.0).abs() < 0.02, "{a} {b}");
    close(rounded.0, exact.0);
    close(rounded.1, exact.1);
    for (path, weight) in rounded.2 {
        assert_eq!(weight.dtype(), burn::tensor::DType::F32, "{path}");
    }
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused() {
    let run = RunDirectory::create(&folder("unfit"), "").unwrap();
    let mut case = Case::new(&run, config());
    case.stop_at = 5;
    let checkpoint = case.train().unwrap().checkpoint;
    let message = |config| Case::new(&run, config).train().unwrap_err().to_string();
    let slower = TrainConfig {
        learning_rate: 0.5,
        ..config()
    };
    let found = message(slower);
    assert!(
        found.contains("`learning_rate` was 0.01, found 0.5"),
        "{found}"
    );
    let path = checkpoint.join("training_state/moments.safetensors");
    let (mut moments, metadata) = armilla_nn::checkpoint::read(&path).unwrap();
    moments.remove("mlp.linears.1.weight.first_moment");
    armilla_nn::checkpoint::write(&path, &moments, &metadata).unwrap();
    let found = message(config());
    let expected = "`mlp.linears.1.weight.first_moment` is missing";
    assert!(
        found.contains(expected) && found.contains("moments.safetensors"),
        "{found}"
    );
    std::fs::remove_file(checkpoint.join("training_state/state.json")).unwrap();
    let found = message(config());
    assert!(
        found.contains("cannot read") && found.contains("state.json"),
        "{found}"
    );
}
