//! What a [`Jepa`] minimises: prediction, SIGReg, inverse dynamics, temporal distance, and the decoder beside them.

use armilla_nn::dropout::Dropout;
use armilla_nn::reduction::mean_squared_error;
use burn::tensor::{Int, Tensor, TensorData};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::Jepa;
use super::inverse::Inverse;
use super::regularization::{covariance, time_similarity, variance};
use crate::batch::{Pairs, TrainingBatch};
use crate::loss::{ModelLoss, Terms, masked, prediction_errors};
use crate::sigreg::{directions, sigreg};
use crate::transition::Transition as _;

impl Jepa {
    /// What a training step minimises; the target passes gradients too, as in LeWorldModel. `generator` draws SIGReg's directions, the decoder's frames, the pixels that sprites
    /// paint and what is dropped.
    #[must_use]
    pub fn loss(&self, batch: TrainingBatch, generator: &mut ChaCha8Rng) -> ModelLoss {
        let shape = [self.config().free(), self.config().loss.sigreg_projections];
        let directions = directions(generator, shape, &batch.blocks.device());
        self.loss_along(directions, batch, generator)
    }

    /// The loss with SIGReg's directions given.
    pub(crate) fn loss_along(
        &self,
        directions: Tensor<2>,
        batch: TrainingBatch,
        generator: &mut ChaCha8Rng,
    ) -> ModelLoss {
        let weights = &self.config().loss;
        let frames = self.encode_frames(batch.observations.clone(), batch.frames); // [batch, frames, latent]
        let latents = self.held(frames.clone().narrow(1, 0, batch.time)); // [batch, time, latent]
        let free = self.free(latents.clone());
        let mut terms = Terms::default();
        terms.add("sigreg", weights.sigreg_weight, || {
            sigreg(free.clone().swap_dims(0, 1), directions)
        });
        terms.add("variance", weights.variance_weight, || {
            variance(free.clone())
        });
        terms.add("covariance", weights.covariance_weight, || {
            covariance(free.clone())
        });
        terms.add("time_similarity", weights.time_similarity_weight, || {
            time_similarity(free.clone(), &batch.weight)
        });
        terms.add("inverse", weights.inverse_weight, || {
            self.inverse_loss(free.clone(), &batch)
        });
        terms.add("distance", weights.distance_weight, || {
            self.distance_loss(frames.clone(), &batch.pairs)
        });
        terms.add("decoder", weights.decoder_weight, || {
            self.decoder_loss(frames.clone(), &batch.observations.images, generator)
        });
        if let (Some(plane), Some(rotated)) = (&self.plane, &batch.rotated) {
            terms.add("plane", weights.plane_weight, || {
                plane.loss(rotated, generator)
            });
        }
        let dropout = &mut Dropout::new(self.config().predictor.dropout(), generator);
        let blocks = batch.blocks.clone();
        let predictions = self.look_ahead(latents.clone(), blocks, weights.rollout, dropout);
        let errors = prediction_errors(&predictions, &latents, &batch.weight);
        terms.finish(errors)
    }

    /// Mean squared error of what is recovered of the blocks from the displacements of the latents, `[batch, time, latent]`.
    fn inverse_loss(&self, latents: Tensor<3>, batch: &TrainingBatch) -> Tensor<1> {
        let Some(inverse) = &self.inverse else {
            return Tensor::zeros([1], &latents.device());
        };
        let [windows, time, latent] = latents.dims();
        let (transitions, rows) = (time - 1, windows * (time - 1));
        let before = latents.clone().narrow(1, 0, transitions);
        let displacement = latents.narrow(1, 1, transitions) - before;
        let found = inverse.forward(displacement.reshape([rows, latent]));
        let target = match inverse {
            Inverse::Mean(_) => batch.mean_actions.clone(),
            Inverse::Actions(_) => batch.blocks.clone(),
        };
        let width = target.dims()[2];
        let error = found.reshape([windows, transitions, width]) - target;
        masked(error.square().mean_dim(2), &batch.weight)
    }

    /// Latents whose embedding passes no gradient on: the distances alone train it.
    fn held(&self, latents: Tensor<3>) -> Tensor<3> {
        if self.config().embedding == 0 {
            return latents;
        }
        let embedding = self.embedding(latents.clone()).detach();
        let parts = [Some(self.free(latents.clone())), Some(embedding)];
        let parts = parts.into_iter().chain([self.plane(latents)]).flatten();
        Tensor::cat(parts.collect(), 2)
    }

    /// Expectile-weighted Huber loss of the temporal distance between frames, `[batch, frames, latent]`.
    fn distance_loss(&self, frames: Tensor<3>, pairs: &Pairs) -> Tensor<1> {
        let [batch, _, latent] = frames.dims();
        let count = pairs.from.len();
        let pick = |chosen: &[usize]| {
            let chosen: Vec<_> = chosen.iter().map(|&frame| frame as i64).collect();
            let index =
                Tensor::<1, Int>::from_data(TensorData::new(chosen, [count]), &frames.device());
            frames.clone().select(1, index)
        };
        let from = pick(&pairs.from).reshape([batch * count, 1, latent]);
        let to = pick(&pairs.to).reshape([batch * count, latent]);
        let error = self.distance(from, to).reshape([batch, count]) - pairs.steps.clone();
        let over = error.clone().greater_elem(0.0).float(); // 1 where the estimate is too long
        let expectile = self.config().loss.distance_expectile;
        let side = (over * (2.0 * expectile - 1.0) + (1.0 - expectile)) * 2.0;
        let size = error.abs();
        let small = size.clone().clamp_max(1.0); // Huber: quadratic up to one model step, linear beyond
        let huber = small.clone() * (size - small * 0.5);
        masked((huber * side).unsqueeze_dim::<3>(2), &pairs.weight)
    }

    /// Mean squared error of some of the first camera's pictures, decoded from latents that pass no gradient on unless configured to.
    fn decoder_loss(
        &self,
        frames: Tensor<3>,
        images: &Tensor<5>,
        generator: &mut ChaCha8Rng,
    ) -> Tensor<1> {
        let [rows, _, height, width, channel] = images.dims();
        let wanted = self.config().loss.decoder_frames.min(rows);
        let (Some(decoder), true) = (&self.decoder, wanted > 0) else {
            return Tensor::zeros([1], &frames.device());
        };
        let chosen: Vec<_> = (0..wanted)
            .map(|_| generator.random_range(0..rows) as i64)
            .collect();
        let chosen =
            Tensor::<1, Int>::from_data(TensorData::new(chosen, [wanted]), &frames.device());
        let frames = match self.config().loss.decoder_trains_encoder {
            true => self.held(frames),
            false => frames.detach(),
        };
        let latents = frames.reshape([rows, self.config().latent]);
        let latents = self.pictured(latents.select(0, chosen.clone()));
        let images = images.clone().narrow(1, 0, 1).select(0, chosen);
        let images = images.reshape([wanted, height, width, channel]);
        mean_squared_error(decoder.forward(latents), images)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::batch;
    use crate::jepa::config::InverseConfig;
    use crate::jepa::predictor::tests::opened;
    use crate::model::Model;
    use armilla_core::random::stream;
    use armilla_nn::checkpoint;
    use armilla_nn::random::normal;
    use armilla_nn::reduction::mean;
    use burn::module::{Module as _, ModuleMapper, Param};
    use burn::tensor::{Device, Gradients};
    use std::collections::BTreeMap;
    use std::path::Path;

    /// Steps of equal length down each gradient.
    pub(crate) struct Descent<'a> {
        pub(crate) gradients: &'a Gradients,
        pub(crate) rate: f64,
    }

    impl ModuleMapper for Descent<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(gradient) = param.val().grad(self.gradients) else {
                return param;
            };
            let size = mean(gradient.clone().square()).into_scalar::<f32>().sqrt();
            let change = gradient * (self.rate as f32 / (size + 1e-8));
            param.map(|value| Tensor::from_inner(value.inner() - change).require_grad())
        }
    }

    /// Fields of the model that the loss trains.
    pub(crate) fn reached<M: burn::module::Module>(model: &M, loss: &Tensor<1>) -> Vec<String> {
        let found = checkpoint::gradients(model, &loss.backward()).into_iter();
        let moved = found.filter(|(_, data)| data.iter::<f32>().any(|value| value != 0.0));
        let fields = moved.filter_map(|(name, _)| Some(name.split('.').next()?.to_owned()));
        fields
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    pub(crate) fn tiny() -> (Jepa, TrainingBatch) {
        let device = Device::flex().autodiff();
        let (windows, interface, config) = batch::tests::windows();
        let Model::Jepa(jepa) = config.init(1, &device).unwrap() else {
            unreachable!("its configuration is of one");
        };
        let batch = TrainingBatch::from_windows(&windows, &interface, &config, &device).unwrap();
        (jepa, batch)
    }

    /// Each weight is of its own term, and a weight of 0 leaves a term out.
    #[test]
    fn regularisation_counts_by_the_weights_of_its_terms() {
        let (mut jepa, batch) = tiny();
        let latents = |jepa: &Jepa| {
            let frames = jepa.encode_frames(batch.observations.clone(), batch.frames);
            jepa.free(frames.narrow(1, 0, batch.time))
        };
        let value = |tensor: Tensor<1>| tensor.into_scalar::<f32>();
        let latents = latents(&jepa);
        let expected = [
            ("covariance", value(covariance(latents.clone()))),
            (
                "time_similarity",
                value(time_similarity(latents.clone(), &batch.weight)),
            ),
            ("variance", value(variance(latents))),
        ];
        let directions = directions(
            &mut stream(0, "directions", 0),
            [jepa.config().free(), 8],
            &batch.blocks.device(),
        );
        let mut loss = |weights: [f64; 3]| {
            let loss = &mut jepa.config.loss;
            [
                loss.covariance_weight,
                loss.time_similarity_weight,
                loss.variance_weight,
            ] = weights;
            let found =
                jepa.loss_along(directions.clone(), batch.clone(), &mut stream(0, "test", 0));
            let figures: BTreeMap<_, _> = found.figures.into_iter().collect();
            (value(found.total), figures)
        };
        let (plain, figures) = loss([0.0; 3]);
        for (name, expected) in expected {
            assert!(!figures.contains_key(name), "{name}");
            let weight = |of: &str| if of == name { 3.0 } else { 0.0 };
            let weights = ["covariance", "time_similarity", "variance"].map(weight);
            let (total, figures) = loss(weights);
            let found = value(figures[name].clone());
            assert!(
                (found - expected).abs() < 1e-5,
                "{name}: {found} {expected}"
            );
            assert!(expected > 1e-4, "{name}: nothing of it tells nothing");
            let counted = total - plain;
            assert!(
                (counted - 3.0 * expected).abs() < 1e-3 * total,
                "{name}: {counted}"
            );
        }
    }

    #[test]
    fn each_term_trains_what_it_shall_and_the_decoder_not_the_encoder() {
        let (jepa, batch) = tiny();
        let frames = jepa.encode_frames(batch.observations.clone(), 4);
        let images = &batch.observations.images;
        let loss = jepa.decoder_loss(frames, images, &mut stream(0, "test", 0));
        assert_eq!(reached(&jepa, &loss), ["decoder"]);
        let mut config = jepa.config().clone();
        config.loss.decoder_trains_encoder = true;
        let seeing = config.init(1, &batch.blocks.device()).unwrap();
        let frames = seeing.encode_frames(batch.observations.clone(), 4);
        let loss = seeing.decoder_loss(frames, images, &mut stream(0, "test", 0));
        let fields = reached(&seeing, &loss);
        assert_eq!(fields, ["decoder", "encoder", "projector"]);

        let frames = jepa.encode_frames(batch.observations.clone(), 4);
        let latents = jepa.held(frames.narrow(1, 0, 3));
        let blocks = batch.blocks.clone();
        let predictions = jepa.look_ahead(latents.clone(), blocks, 2, &mut Dropout::Off);
        let errors = prediction_errors(&predictions, &latents, &batch.weight);
        assert_eq!(
            reached(&jepa, &errors[1]),
            ["encoder", "predictor", "projector"]
        );

        let frames = jepa.encode_frames(batch.observations.clone(), 4);
        let latents = jepa.free(frames.narrow(1, 0, 3));
        let loss = jepa.inverse_loss(latents, &batch);
        assert_eq!(reached(&jepa, &loss), ["encoder", "inverse", "projector"]);

        let frames = jepa.encode_frames(batch.observations.clone(), 4);
        let loss = jepa.distance_loss(frames, &batch.pairs);
        assert_eq!(reached(&jepa, &loss), ["embedder", "encoder"]);
    }

    #[test]
    fn each_action_of_a_block_is_recovered_from_the_latents() {
        let (jepa, batch) = tiny();
        let mut config = jepa.config().clone();
        config.loss.inverse = InverseConfig::Actions;
        let jepa = opened(config.init(1, &batch.blocks.device()).unwrap());
        let loss = |jepa: &Jepa| {
            let frames = jepa.encode_frames(batch.observations.clone(), 4);
            jepa.inverse_loss(jepa.free(frames.narrow(1, 0, 3)), &batch)
        };
        let fields = reached(&jepa, &loss(&jepa));
        assert_eq!(fields, ["encoder", "inverse", "projector"]);
        // Now it says [1, -1] for every action; they are [-0.5, 1], [0.5, 3] and so on, each 1 and 2 more than the last.
        let mut weights = checkpoint::weights(&jepa);
        let mut set = |name: &str, values: TensorData| {
            weights.insert(format!("inverse.Actions.action.{name}"), values)
        };
        set("weight", TensorData::zeros::<f32, _>([8, 2]));
        set("bias", TensorData::from([1.0_f32, -1.0]));
        let jepa = checkpoint::with_weights(jepa, weights, Path::new("test")).unwrap();
        let found = loss(&jepa).into_scalar::<f32>();
        // The fourth block lies past its episode's end.
        let blocks = [
            [1.5, 2.0, 0.5, 4.0],
            [0.5, 6.0, 1.5, 8.0],
            [2.5, 10.0, 3.5, 12.0],
        ];
        let squares = blocks.iter().flatten().map(|error: &f32| error.powi(2));
        let expected = squares.sum::<f32>() / 12.0;
        assert!((found - expected).abs() < 1e-3, "{found} {expected}");
    }

    #[test]
    fn expectiles_weigh_too_long_against_too_short() {
        let (jepa, batch) = tiny();
        let with = |expectile: f64| {
            let mut config = jepa.config().clone();
            config.loss.distance_expectile = expectile;
            let device = Device::flex();
            let jepa = config.init(1, &device).unwrap();
            // Distances of the untrained head lie far above 0: all too long.
            let latents = normal(&mut stream(0, "test", 0), [2, 4, 16], &device);
            let zero = Tensor::zeros([2, 9], &device);
            let pairs = Pairs {
                steps: zero.clone(),
                weight: zero.ones_like(),
                ..batch.pairs.clone()
            };
            jepa.distance_loss(latents, &pairs).into_scalar::<f32>()
        };
        assert!((with(0.8) / with(0.5) - 1.6).abs() < 1e-4);
        assert!((with(0.2) / with(0.5) - 0.4).abs() < 1e-4);
    }

    #[test]
    fn one_batch_can_be_learnt() {
        let (mut jepa, batch) = tiny();
        let mut figures = Vec::new();
        for step in 0..400 {
            let loss = jepa.loss(batch.clone(), &mut stream(0, "loss", step));
            let values = loss.figures.iter();
            let values = values.map(|(name, value)| (*name, value.clone().into_scalar::<f32>()));
            let values: BTreeMap<_, _> = values.collect();
            assert!(values.values().all(|value| value.is_finite()));
            figures.push(values);
            let gradients = loss.total.backward();
            let rate = 3e-3 * (1.0 - step as f64 / 400.0);
            jepa = jepa.map(&mut Descent {
                gradients: &gradients,
                rate,
            });
        }
        let (first, last) = (&figures[0], &figures[399]);
        for (name, share) in [
            ("prediction", 0.2),
            ("inverse", 0.2),
            ("distance", 0.3),
            ("decoder", 0.7),
        ] {
            let (first, last) = (first[name], last[name]);
            assert!(last < share * first, "{name}: {first} then {last}");
        }
    }
}
