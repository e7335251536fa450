//! The mistakes that ports of LeWorldModel make, each with a test that fails when it is made here.
//!
//! That SIGReg is taken per time step across the batch is tested beside it; that goals are encoded as observations are, in
//! `armilla-imagine`'s planner policy.

use armilla_core::random::stream;
use armilla_nn::Precision;
use armilla_nn::dropout::Dropout;
use armilla_nn::random::normal;
use burn::module::Module as _;
use burn::tensor::{DType, Device, Tensor};

use crate::batch::TrainingBatch;
use crate::batch::tests::windows;
use crate::context::Context;
use crate::evaluation::Dynamics;
use crate::jepa::config::{JepaConfig, PredictorConfig, TransformerConfig};
use crate::jepa::loss::tests::tiny;
use crate::jepa::predictor::tests::opened;
use crate::jepa::tests::small_encoder;
use crate::model::{Model, ModelConfig};
use crate::observations::Observations;
use crate::scale::{ActionScale, StateScale};
use crate::sigreg::{directions, sigreg};
use crate::transition::Transition;
use crate::world_model::{Interface, WorldModel};

fn draw<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    normal(&mut stream(0, name, 0), shape, device)
}

fn apart<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    (a - b).abs().max().into_scalar()
}

/// A transformer that looks back on three latents, after a training step's worth of batch normalisation.
fn trained() -> WorldModel {
    let device = Device::flex().autodiff();
    let config = JepaConfig {
        image_size: 16,
        encoder: small_encoder(),
        latent: 12,
        projector_hidden: 16,
        action_repeat: 3,
        predictor: PredictorConfig::Transformer(TransformerConfig {
            depth: 1,
            heads: 2,
            head_width: 4,
            hidden: 16,
            action_hidden: 16,
            dropout: 0.0,
            ..TransformerConfig::default()
        }),
        ..JepaConfig::lewm()
    };
    let model = opened(ModelConfig::Jepa(config).init(0, &device).unwrap());
    let images = draw("images", [40, 16, 16, 3], &device) * 0.2 + 0.1;
    let latents = model.encode_frames(Observations::of_one_camera(images), 4);
    let blocks = draw("blocks", [10, 3, 6], &device);
    drop(model.look_ahead(latents, blocks, 1, &mut Dropout::Off));
    let interface = Interface {
        cameras: vec!["top".to_owned()],
        actions: ActionScale {
            mean: vec![1.0, -2.0],
            std: vec![0.5, 3.0],
            low: vec![-9.0; 2],
            high: vec![9.0; 2],
        },
        states: StateScale::default(),
        rate_hz: Some(10.0),
    };
    WorldModel::new(&model, interface).unwrap()
}

#[test]
fn sigreg_stays_in_single_precision() {
    let device = Device::flex();
    let latents = draw("latents", [2, 64, 16], &device);
    let directions = directions(&mut stream(0, "directions", 0), [16, 32], &device);
    let value = |precision: Precision| {
        let (latents, directions) = (latents.clone(), directions.clone());
        precision.scope(|| sigreg(latents, directions).into_scalar::<f32>())
    };
    assert_eq!(value(Precision::F32), value(Precision::Bf16));
    // And latents come to it in single precision, whatever their products were rounded to.
    let model = trained();
    let images = || Observations::of_one_camera(draw("images", [6, 16, 16, 3], &device));
    let latents = |precision: Precision| precision.scope(|| model.model().encode(images()));
    let [whole, rounded] = [Precision::F32, Precision::Bf16].map(latents);
    assert_eq!(rounded.dtype(), DType::F32);
    assert!(apart(whole, rounded) > 0.0, "products are rounded");
}

#[test]
fn a_loss_in_bf16_takes_sigreg_of_its_latents_in_single_precision() {
    let (jepa, batch) = tiny();
    let shape = [jepa.config().free(), 32];
    let device = batch.blocks.device();
    let directions = directions(&mut stream(0, "directions", 0), shape, &device);
    let (latents, loss) = Precision::Bf16.scope(|| {
        let latents = jepa.encode_frames(batch.observations.clone(), batch.frames);
        let generator = &mut stream(0, "loss", 0);
        let loss = jepa.loss_along(directions.clone(), batch.clone(), generator);
        (latents, loss)
    });
    let latents = jepa.free(latents.narrow(1, 0, batch.time));
    let expected = sigreg(latents.swap_dims(0, 1), directions).into_scalar::<f32>();
    let figures = loss.figures.into_iter();
    let found = figures.filter(|(name, _)| *name == "sigreg");
    let found: Vec<_> = found.map(|(_, value)| value.into_scalar::<f32>()).collect();
    assert_eq!(found, [expected]);
}

#[test]
fn batch_normalisation_plans_with_its_running_statistics() {
    let model = trained();
    let device = model.device();
    let images = draw("others", [6, 16, 16, 3], &device) * 0.2;
    let encode = |images: Tensor<4>| model.model().encode(Observations::of_one_camera(images));
    let together = encode(images.clone());
    let alone = encode(images.narrow(0, 2, 1));
    assert!(
        apart(together.clone().narrow(0, 2, 1), alone) < 1e-5,
        "encoder and projector"
    );

    let blocks = draw("plans", [6, 4, 6], &device);
    let rollout = |rows: Tensor<2>, blocks: Tensor<3>| {
        Transition::rollout(model.model(), Context::of_one(rows), blocks)
    };
    let all = rollout(together.clone(), blocks.clone());
    let one = rollout(together.narrow(0, 2, 1), blocks.narrow(0, 2, 1));
    assert!(apart(all.narrow(0, 2, 1), one) < 1e-5, "predictor");
    let training = model.model().devices();
    assert!(training.iter().all(|device| !device.is_autodiff()));
}

#[test]
fn planning_looks_back_as_training_does() {
    let model = trained();
    let device = model.device();
    let latents = draw("latents", [5, 4, 12], &device);
    let actions = draw("actions", [5, 3, 6], &device); // in their own units, a model step's one after the other
    let scale = &model.interface().actions;
    let row = |values: &[f32]| {
        let row = Tensor::<1>::from_floats(values, &device).reshape([1, 1, 2]);
        row.repeat_dim(2, 3)
    };
    let normalized = (actions.clone() - row(&scale.mean)) / row(&scale.std);
    let trained = model.model();
    let expected = trained.look_ahead(latents.clone(), normalized, 1, &mut Dropout::Off);
    let context = Context {
        latents: latents.narrow(1, 0, 3),
        blocks: Some(actions.clone().narrow(1, 0, 2)),
    };
    let planned = Dynamics::rollout(&model, context.clone(), actions.clone().narrow(1, 2, 1));
    let last = expected[0].clone().narrow(1, 2, 1);
    assert!(apart(planned.clone(), last) < 1e-4);
    // The actions of the past count, and so do the latents before the last.
    let other = Context {
        blocks: Some(actions.clone().narrow(1, 0, 2) + 1.0),
        ..context.clone()
    };
    let moved = Dynamics::rollout(&model, other, actions.clone().narrow(1, 2, 1));
    assert!(apart(planned.clone(), moved) > 1e-6);
    let one = Context::of_one(context.last());
    let short = Dynamics::rollout(&model, one, actions.narrow(1, 2, 1));
    assert!(apart(planned, short) > 1e-6);
}

#[test]
fn a_planned_block_is_laid_out_as_a_recorded_one() {
    let (windows, interface, config) = windows();
    let device = Device::flex();
    let batch = TrainingBatch::from_windows(&windows, &interface, &config, &device).unwrap();
    let model = WorldModel::new(&config.init(0, &device).unwrap(), interface).unwrap();
    let shape = model.shape();
    // The recorded actions of the first block, as a plan that holds none: step after step.
    let raw: Vec<f32> = windows.actions[..shape.block()].to_vec();
    let raw = Tensor::<1>::from_floats(raw.as_slice(), &device).reshape([1, 1, shape.block()]);
    let start = Tensor::full([1, shape.latent], 0.3, &device);
    let planned = Dynamics::rollout(&model, Context::of_one(start.clone()), raw);
    let recorded = batch.blocks.slice([0..1, 0..1]).reshape([1, shape.block()]);
    let expected = model.model().predict(&Context::of_one(start), recorded);
    let Model::Jepa(_) = model.model() else {
        unreachable!("its configuration is of one");
    };
    assert!(apart(planned.reshape([1, shape.latent]), expected) < 1e-5);
}
