//! What a [`Jepa`] minimises: prediction, SIGReg, inverse dynamics, temporal distance, and the decoder beside them.

use armilla_nn::reduction::{mean, mean_squared_error};
use burn::tensor::{Int, Tensor, TensorData};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::batch::{JepaBatch, Pairs};
use crate::jepa::Jepa;
use crate::sigreg::{directions, sigreg};

/// What a training step minimises, and its parts.
#[derive(Debug)]
pub struct JepaLoss {
    /// The weighted sum, `[1]`.
    pub total: Tensor<1>,
    /// Its parts before weighting, detached, `[1]` each.
    pub figures: Vec<(&'static str, Tensor<1>)>,
}

impl Jepa {
    /// What a training step minimises. `generator` draws SIGReg's directions and the decoder's frames.
    #[must_use]
    pub fn loss(&self, batch: JepaBatch, generator: &mut ChaCha8Rng) -> JepaLoss {
        let weights = &self.config().loss;
        let frames = self.encode_frames(batch.images.clone()); // [batch, frames, latent]
        let latents = self.held(frames.clone().narrow(1, 0, batch.time)); // [batch, time, latent]
        let predictions = self.multi_step(latents.clone(), batch.blocks.clone());
        let errors = prediction_errors(&predictions, &latents, &batch.weight);
        let (one_step, last) = (errors[0].clone(), errors[errors.len() - 1].clone());
        let prediction = mean(Tensor::cat(errors, 0));

        let shape = [self.config().free(), weights.sigreg_projections];
        let directions = directions(generator, shape, &latents.device());
        let sigreg = sigreg(self.free(latents.clone()).swap_dims(0, 1), directions);
        let inverse = self.inverse_loss(latents, &batch);
        let distance = self.distance_loss(frames.clone(), &batch.pairs);
        let decoder = self.decoder_loss(frames, batch.images, generator);

        let figures = [
            ("prediction", one_step),
            ("prediction_last", last),
            ("sigreg", sigreg.clone()),
            ("inverse", inverse.clone()),
            ("distance", distance.clone()),
            ("decoder", decoder.clone()),
        ];
        JepaLoss {
            total: prediction
                + sigreg * weights.sigreg_weight
                + inverse * weights.inverse_weight
                + distance * weights.distance_weight
                + decoder * weights.decoder_weight,
            figures: figures.map(|(name, value)| (name, value.detach())).to_vec(),
        }
    }

    /// Mean squared error of the blocks' mean actions, from the displacements of the latents.
    fn inverse_loss(&self, latents: Tensor<3>, batch: &JepaBatch) -> Tensor<1> {
        let before = latents.clone().narrow(1, 0, batch.time - 1);
        let after = latents.narrow(1, 1, batch.time - 1);
        let error = self.inverse(before, after) - batch.mean_actions.clone();
        masked(error.square().mean_dim(2), &batch.weight)
    }

    /// Latents whose embedding passes no gradient on: the distances alone train it.
    fn held(&self, latents: Tensor<3>) -> Tensor<3> {
        let embedding = self.embedding(latents.clone()).detach();
        Tensor::cat(vec![self.free(latents), embedding], 2)
    }

    /// Expectile-weighted Huber loss of the temporal distance between frames, `[batch, frames, latent]`.
    fn distance_loss(&self, frames: Tensor<3>, pairs: &Pairs) -> Tensor<1> {
        if self.config().loss.distance_weight == 0.0 {
            return Tensor::zeros([1], &frames.device());
        }
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

    /// Mean squared error of some of the pictures, decoded from latents that pass no gradient on.
    fn decoder_loss(
        &self,
        frames: Tensor<3>,
        images: Tensor<5>,
        generator: &mut ChaCha8Rng,
    ) -> Tensor<1> {
        let [batch, count, height, width, channel] = images.dims();
        let wanted = self.config().loss.decoder_frames.min(batch * count);
        if wanted == 0 || self.config().loss.decoder_weight == 0.0 {
            return Tensor::zeros([1], &frames.device());
        }
        let chosen: Vec<_> = (0..wanted)
            .map(|_| generator.random_range(0..batch * count) as i64)
            .collect();
        let chosen =
            Tensor::<1, Int>::from_data(TensorData::new(chosen, [wanted]), &frames.device());
        let latents = frames
            .detach()
            .reshape([batch * count, self.config().latent]);
        let latents = latents.select(0, chosen.clone());
        let images = images
            .reshape([batch * count, height, width, channel])
            .select(0, chosen);
        mean_squared_error(self.decoder.forward(latents), images)
    }
}

/// Mean squared error of the predictions of each reach, `[1]` each; the target passes gradients too, as in LeWorldModel.
fn prediction_errors(
    predictions: &[Tensor<3>],
    latents: &Tensor<3>,
    weight: &Tensor<2>,
) -> Vec<Tensor<1>> {
    let error = |(ahead, prediction): (usize, &Tensor<3>)| {
        let count = prediction.dims()[1];
        let target = latents.clone().narrow(1, ahead + 1, count);
        let error = (prediction.clone() - target).square().mean_dim(2);
        masked(error, &weight.clone().narrow(1, ahead, count))
    };
    predictions.iter().enumerate().map(error).collect()
}

/// Mean of the values by their weights. Values `[batch, count, 1]`, weight `[batch, count]`.
fn masked(values: Tensor<3>, weight: &Tensor<2>) -> Tensor<1> {
    let [batch, count, _] = values.dims();
    let weighted = mean(values.reshape([batch, count]) * weight.clone());
    weighted / mean(weight.clone()).clamp_min(1e-6)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::batch;
    use armilla_core::random::stream;
    use armilla_nn::random::normal;
    use burn::module::{Module as _, ModuleMapper, ModuleVisitor, Param};
    use burn::tensor::{Device, Gradients};

    /// The largest gradient below each of the model's fields.
    struct Largest<'a> {
        gradients: &'a Gradients,
        path: Vec<String>,
        found: std::collections::BTreeMap<String, f32>,
    }

    impl ModuleVisitor for Largest<'_> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param.val().grad(self.gradients);
            let size = gradient.map_or(0.0, |gradient| gradient.abs().max().into_scalar::<f32>());
            let entry = self.found.entry(self.path[0].clone()).or_insert(0.0);
            *entry = entry.max(size);
        }
    }

    /// Steps of equal length down each gradient.
    struct Descent<'a> {
        gradients: &'a Gradients,
        rate: f64,
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

    fn reached(jepa: &Jepa, loss: &Tensor<1>) -> Vec<String> {
        let gradients = loss.backward();
        let mut visitor = Largest {
            gradients: &gradients,
            path: Vec::new(),
            found: Default::default(),
        };
        jepa.visit(&mut visitor);
        visitor
            .found
            .into_iter()
            .filter(|(_, size)| *size > 0.0)
            .map(|(field, _)| field)
            .collect()
    }

    pub(crate) fn tiny() -> (Jepa, JepaBatch) {
        let device = Device::flex().autodiff();
        let (windows, scale, config) = batch::tests::windows();
        let jepa = config.init(1, &device).unwrap();
        let batch = JepaBatch::from_windows(&windows, &scale, &config, &device).unwrap();
        (jepa, batch)
    }

    #[test]
    fn each_term_trains_what_it_shall_and_the_decoder_not_the_encoder() {
        let (jepa, batch) = tiny();
        let frames = jepa.encode_frames(batch.images.clone());
        let loss = jepa.decoder_loss(frames, batch.images.clone(), &mut stream(0, "test", 0));
        assert_eq!(reached(&jepa, &loss), ["decoder"]);

        let latents = jepa.held(jepa.encode_frames(batch.images.clone()).narrow(1, 0, 3));
        let predictions = jepa.multi_step(latents.clone(), batch.blocks.clone());
        let errors = prediction_errors(&predictions, &latents, &batch.weight);
        assert_eq!(
            reached(&jepa, &errors[1]),
            ["encoder", "predictor", "projector"]
        );

        let latents = jepa.encode_frames(batch.images.clone()).narrow(1, 0, 3);
        let loss = jepa.inverse_loss(latents, &batch);
        assert_eq!(reached(&jepa, &loss), ["encoder", "inverse", "projector"]);

        let frames = jepa.encode_frames(batch.images);
        let loss = jepa.distance_loss(frames, &batch.pairs);
        assert_eq!(reached(&jepa, &loss), ["embedder", "encoder"]);
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
    fn masked_values_do_not_count() {
        let device = Device::flex();
        let values = Tensor::<1>::from_floats([1.0, 2.0, 9.0, 3.0], &device).reshape([2, 2, 1]);
        let weight = Tensor::<2>::from_floats([[1.0, 1.0], [0.0, 1.0]], &device);
        assert!((masked(values, &weight).into_scalar::<f32>() - 2.0).abs() < 1e-6);
    }

    #[test]
    fn one_batch_can_be_learnt() {
        let (mut jepa, batch) = tiny();
        let mut figures = Vec::new();
        for step in 0..400 {
            let loss = jepa.loss(batch.clone(), &mut stream(0, "loss", step));
            assert!(
                loss.figures
                    .iter()
                    .all(|(_, value)| value.clone().into_scalar::<f32>().is_finite())
            );
            figures.push(
                loss.figures
                    .iter()
                    .map(|(_, value)| value.clone().into_scalar::<f32>())
                    .collect::<Vec<_>>(),
            );
            let gradients = loss.total.backward();
            let rate = 3e-3 * (1.0 - step as f64 / 400.0);
            jepa = jepa.map(&mut Descent {
                gradients: &gradients,
                rate,
            });
        }
        let (first, last) = (&figures[0], &figures[399]);
        for (at, share) in [(0, 0.2), (3, 0.2), (4, 0.3), (5, 0.7)] {
            assert!(
                last[at] < share * first[at],
                "figure {at}: {} then {}",
                first[at],
                last[at]
            );
        }
    }
}
