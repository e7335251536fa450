//! Planning with a world model that looks at everything turned and mirrored too.
//!
//! What a model makes of a scene differs a little from what it makes of the scene's mirror image, though it means the same. The mean
//! over several views errs less than each: test-time augmentation. A latent of the search is then those of all views, one after the
//! other, and each view's predictor gets the actions turned as its pictures are.

use armilla_core::Image;
use burn::tensor::{Device, Tensor};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::evaluation::{Cost, Dynamics};
use crate::symmetry::Symmetry;
use crate::world_model::WorldModel;

/// Views there are at most: the ways to lay a square onto itself.
pub const MOST: usize = 8;

/// A world model seen in several views, with what a latent costs in one.
pub(crate) struct Views<'a> {
    model: &'a WorldModel,
    cost: &'a dyn Cost,
    symmetries: Vec<Symmetry>,
}

impl<'a> Views<'a> {
    /// The first of them is the picture as it is.
    pub(crate) fn new(model: &'a WorldModel, cost: &'a dyn Cost, views: usize) -> Self {
        Self {
            model,
            cost,
            symmetries: Symmetry::all().take(views).collect(),
        }
    }

    /// One view's part of latents, `[..., views * latent]` to `[..., latent]`.
    fn part<const D: usize>(&self, latents: &Tensor<D>, view: usize) -> Tensor<D> {
        let latent = self.model.latent();
        latents.clone().narrow(D - 1, view * latent, latent)
    }
}

impl Dynamics for Views<'_> {
    fn device(&self) -> Device {
        self.model.device()
    }

    fn latent(&self) -> usize {
        self.symmetries.len() * self.model.latent()
    }

    fn rollout(&self, context: Context, actions: Tensor<3>) -> Tensor<3> {
        let turned = |actions: &Tensor<3>, symmetry: &Symmetry| {
            let [rows, steps, width] = actions.dims();
            let moves = actions.clone().reshape([rows, steps * width / 2, 2]);
            symmetry.actions(moves).reshape([rows, steps, width])
        };
        let views = self.symmetries.iter().enumerate().map(|(view, symmetry)| {
            let context = Context {
                latents: self.part(&context.latents, view),
                blocks: context
                    .blocks
                    .as_ref()
                    .map(|blocks| turned(blocks, symmetry)),
            };
            self.model.rollout(context, turned(&actions, symmetry))
        });
        Tensor::cat(views.collect(), 2)
    }
}

impl Cost for Views<'_> {
    fn cost(&self, latents: Tensor<3>, goals: Tensor<2>) -> Tensor<2> {
        let mut total = None;
        for view in 0..self.symmetries.len() {
            let (latents, goals) = (self.part(&latents, view), self.part(&goals, view));
            let cost = self.cost.cost(latents, goals);
            total = Some(match total {
                None => cost,
                Some(sum) => sum + cost,
            });
        }
        let total = total.unwrap_or_else(|| self.cost.cost(latents, goals));
        total / self.symmetries.len().max(1) as f64
    }
}

/// The pictures in one view.
///
/// # Errors
///
/// [`Error::Invalid`] when a picture is not a square.
pub(crate) fn turned(images: &[&Image], symmetry: Symmetry) -> Result<Vec<Image>> {
    let turn = |image: &&Image| {
        let side = image.width();
        let mut pixels = image.data().to_vec();
        if image.height() != side {
            let found = format!("{} x {side}", image.height());
            return Err(Error::invalid("picture to turn", "a square", found));
        }
        symmetry.picture(&mut pixels, side);
        Image::new(side, side, pixels).map_err(|error| Error::invalid("picture", "whole", error))
    };
    images.iter().map(turn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jepa::config::JepaConfig;
    use crate::model::Model;
    use crate::observations::Frame;
    use crate::plan_config::PlanConfig;
    use crate::planner::{Planner, Problem};
    use crate::scale::{ActionScale, StateScale};
    use crate::world_model::tests::{jepa_config, world_model};
    use crate::world_model::{DistanceCost, Interface};

    fn pictures() -> [Image; 2] {
        [3, 50].map(|step| {
            let pixels = (0..16 * 16 * 3).map(|index| (index * step % 251) as u8);
            Image::new(16, 16, pixels.collect()).unwrap()
        })
    }

    #[test]
    fn the_cost_is_the_mean_over_turned_scenes() {
        let model = world_model(1);
        let [start, goal] = pictures();
        let (device, actions) = (model.device(), [[0.7f32, -0.2], [0.1, 0.4]]);
        let mut expected = 0.0;
        for symmetry in Symmetry::all() {
            let images = turned(&[&start, &goal], symmetry).unwrap();
            let latents = model
                .encode(&images.iter().map(Frame::from).collect::<Vec<_>>())
                .unwrap();
            let moves = actions.map(|mut action| {
                symmetry.action(&mut action);
                action.to_vec()
            });
            let found = model.imagine(&latents[0], &moves).unwrap();
            let last = Tensor::<1>::from_floats(&found[12..], &device).reshape([1, 1, 12]);
            let goal = Tensor::<1>::from_floats(latents[1].as_slice(), &device).reshape([1, 12]);
            let cost = model.model().distance(last, goal).unwrap();
            expected += cost.into_scalar::<f32>() / MOST as f32;
        }
        let config = PlanConfig {
            views: MOST,
            ..PlanConfig::default()
        };
        let latents = model
            .encode_views(&[&start, &goal].map(Frame::from), config.views)
            .unwrap();
        let cost = DistanceCost(model.model());
        let views = Views::new(&model, &cost, config.views);
        let context = Tensor::<1>::from_floats(latents[0].as_slice(), &device);
        let context = Context::of_one(context.reshape([1, views.latent()]));
        let moves = Tensor::<3>::from_floats([actions], &device);
        let last = views.rollout(context, moves).narrow(1, 1, 1);
        let goal = Tensor::<1>::from_floats(latents[1].as_slice(), &device);
        let found = views.cost(last, goal.reshape([1, views.latent()]));
        let found = found.into_scalar::<f32>();
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }

    #[test]
    fn plans_show_the_latents_of_all_views_the_first_first() {
        let model = world_model(1);
        let [start, goal] = pictures();
        let config = PlanConfig {
            views: 3,
            horizon: 2,
            num_samples: 8,
            num_elites: 2,
            keep_elites: 1,
            iterations: 1,
            ..PlanConfig::default()
        };
        let latents = model
            .encode_views(&[&start, &goal].map(Frame::from), config.views)
            .unwrap();
        let planner = Planner::new(config, &[-1.0; 2], &[1.0; 2]).unwrap();
        let problem = Problem {
            episode: 0,
            step: 0,
            context: latents[0].clone(),
            goal: latents[1].clone(),
            past: Vec::new(),
            warm_start: Vec::new(),
        };
        let plan = model.plan(&planner, &[problem]).unwrap().remove(0);
        let start = model.encode(&[Frame::from(&start)]).unwrap();
        let expected = model.imagine(&start[0], &plan.actions).unwrap();
        assert_eq!(plan.latents.len(), 3 * expected.len());
        for (found, expected) in plan.latents.chunks(36).zip(expected.chunks(12)) {
            let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            assert!(apart.max_by(f32::total_cmp).unwrap_or(0.0) < 1e-4);
        }
    }

    /// A model with actions of so many values, and whether it was trained on turned scenes.
    fn other(action: usize, symmetries: bool) -> WorldModel {
        let config = JepaConfig {
            action,
            symmetries,
            ..jepa_config(1)
        };
        let jepa = Model::Jepa(config.init(0, &Device::flex()).unwrap());
        let actions = ActionScale {
            mean: vec![0.0; action],
            std: vec![1.0; action],
            low: vec![-1.0; action],
            high: vec![1.0; action],
        };
        let interface = Interface {
            cameras: vec!["top".to_owned()],
            actions,
            states: StateScale::default(),
            rate_hz: Some(10.0),
        };
        WorldModel::new(&jepa, interface).unwrap()
    }

    #[test]
    fn only_a_model_that_knows_turned_scenes_looks_at_them() {
        let [start, goal] = pictures();
        let plan = |model: &WorldModel, views: usize| {
            let config = PlanConfig {
                views,
                horizon: 2,
                num_samples: 8,
                num_elites: 2,
                keep_elites: 1,
                iterations: 1,
                ..PlanConfig::default()
            };
            let bounds = vec![1.0; model.shape().action];
            let low: Vec<_> = bounds.iter().map(|bound| -bound).collect();
            let planner = Planner::new(config, &low, &bounds).unwrap();
            let latents = model
                .encode_views(&[&start, &goal].map(Frame::from), views)
                .unwrap();
            let problem = Problem {
                episode: 0,
                step: 0,
                context: latents[0].clone(),
                goal: latents[1].clone(),
                past: Vec::new(),
                warm_start: Vec::new(),
            };
            model.plan(&planner, &[problem])
        };
        // One view asks nothing of the actions.
        assert_eq!(plan(&other(3, false), 1).unwrap()[0].actions[0].len(), 3);
        let message = |model: &WorldModel| plan(model, 2).unwrap_err().to_string();
        let found = message(&other(3, true));
        assert!(
            found.contains("views") && found.contains("3 values"),
            "{found}"
        );
        let found = message(&other(2, false));
        assert!(found.contains("symmetries"), "{found}");
    }
}
