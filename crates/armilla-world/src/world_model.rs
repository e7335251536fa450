//! A trained model with what it takes to use it: the camera it looks through, and the units of its actions.

use armilla_core::Image;
use armilla_nn::images::{CHANNELS, images_to_tensor, tensor_to_images};
use armilla_nn::lanes::side_by_side;
use burn::module::Module as _;
use burn::tensor::{Device, Tensor, TensorData};

use crate::context::Context;
use crate::error::{Error, Result, ensure};
use crate::evaluation::{Cost, Dynamics};
use crate::model::{Model, Shape};
use crate::observations::{Frame, Observations};
use crate::plan_config::{Objective, PlanConfig};
use crate::planner::{Plan, Planner, Problem};
use crate::scale::{ActionScale, StateScale};
use crate::symmetry::Symmetry;
use crate::transition::Transition;
use crate::views::{Views, turned};

/// Pictures that go through the encoder or the decoder at once, which bounds memory.
const PICTURES: usize = 64;
/// Pictures at least that a core encodes on its own.
const SHARE: usize = 8;

/// What a model was trained on, besides pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Interface {
    /// Names of the cameras, in the order in which the model takes their pictures.
    pub cameras: Vec<String>,
    /// Units of actions.
    pub actions: ActionScale,
    /// Units of proprioception; empty for a model that takes none.
    pub states: StateScale,
}

/// A model ready to encode pictures and to plan in.
#[derive(Clone, Debug)]
pub struct WorldModel {
    model: Model,
    shape: Shape,
    interface: Interface,
}

impl WorldModel {
    /// Takes a model out of training: batch normalisation uses its running statistics from here on.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the model takes other cameras, or actions or states of another width, than the interface names.
    pub fn new(model: &Model, interface: Interface) -> Result<Self> {
        let shape = model.config().shape();
        interface.actions.validate(shape.action)?;
        interface.states.validate(shape.state)?;
        let (expected, found) = (shape.cameras, interface.cameras.len());
        ensure(expected == found, "cameras", expected, found)?;
        Ok(Self {
            model: model.valid(),
            shape,
            interface,
        })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its sizes.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Camera and units.
    #[must_use]
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// A latent for each frame.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when a frame has not the model's cameras, size of pictures or width of proprioception.
    pub fn encode(&self, frames: &[Frame<'_>]) -> Result<Vec<Vec<f32>>> {
        for frame in frames {
            self.check_frame(frame)?;
        }
        let device = self.device();
        let encode = |frames: &[Frame<'_>]| {
            let latents = self.model.encode(self.observations(frames, &device));
            latents.into_data().iter::<f32>().collect::<Vec<_>>()
        };
        let parts = side_by_side(&device, frames.len(), SHARE, |part| {
            let groups = frames[part].chunks(PICTURES);
            groups.flat_map(encode).collect::<Vec<_>>()
        });
        let latents = parts.concat();
        let latents = latents.chunks(self.shape.latent);
        Ok(latents.map(<[f32]>::to_vec).collect())
    }

    /// Whether the model can look at a frame.
    fn check_frame(&self, frame: &Frame<'_>) -> Result<()> {
        let shape = &self.shape;
        let (expected, found) = (shape.cameras, frame.images.len());
        ensure(expected == found, "pictures of a frame", expected, found)?;
        let side = shape.image_size;
        let mut images = frame.images.iter();
        if let Some(wrong) = images.find(|image| [image.height(), image.width()] != [side; 2]) {
            let found = format!("{} x {}", wrong.height(), wrong.width());
            return Err(Error::invalid("picture", format!("{side} x {side}"), found));
        }
        let (expected, found) = (shape.state, frame.state.len());
        let what = "values of proprioception";
        ensure(expected == found, what, expected, found)
    }

    /// Frames as the model takes them.
    fn observations(&self, frames: &[Frame<'_>], device: &Device) -> Observations {
        let shape = &self.shape;
        let (count, side) = (frames.len(), shape.image_size);
        let images = frames.iter().flat_map(|frame| &frame.images);
        let pixels: Vec<u8> = images.flat_map(|image| image.data()).copied().collect();
        let images = images_to_tensor(&pixels, [count * shape.cameras, side, side], device);
        let states = (shape.state > 0).then(|| {
            let states = frames.iter().flat_map(|frame| frame.state);
            let mut states: Vec<f32> = states.copied().collect();
            self.interface.states.normalize(&mut states);
            Tensor::from_data(TensorData::new(states, [count, shape.state]), device)
        });
        Observations {
            images: images.reshape([count, shape.cameras, side, side, CHANNELS]),
            states,
        }
    }

    /// The latents of each frame in several views, one after the other, as a search with so many
    /// [`views`](crate::PlanConfig::views) wants them.
    ///
    /// # Errors
    ///
    /// As [`Self::encode`].
    pub fn encode_views(&self, frames: &[Frame<'_>], views: usize) -> Result<Vec<Vec<f32>>> {
        if views == 1 {
            return self.encode(frames);
        }
        // A model that knows turned scenes has one camera and no proprioception.
        let images: Vec<_> = frames
            .iter()
            .flat_map(|frame| &frame.images)
            .copied()
            .collect();
        let mut latents = vec![Vec::new(); frames.len()];
        for symmetry in Symmetry::all().take(views) {
            let turned = turned(&images, symmetry)?;
            let found = self.encode(&turned.iter().map(Frame::from).collect::<Vec<_>>())?;
            for (all, found) in latents.iter_mut().zip(found) {
                all.extend(found);
            }
        }
        Ok(latents)
    }

    /// The picture of each latent, one latent after the other.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the last latent is cut, or the model has no decoder.
    pub fn decode(&self, latents: &[f32]) -> Result<Vec<Image>> {
        let config = &self.shape;
        let (side, width) = (config.image_size, config.latent);
        let whole = latents.len().is_multiple_of(width);
        ensure(
            whole,
            "latents",
            format!("a multiple of {width} values"),
            latents.len(),
        )?;
        let mut images = Vec::new();
        for chunk in latents.chunks(PICTURES * width) {
            let data = TensorData::new(chunk.to_vec(), [chunk.len() / width, width]);
            let decoded = self.model.decode(Tensor::from_data(data, &self.device()));
            let none = || Error::invalid("decoder_channels", "a model with a decoder", "none");
            let pixels = tensor_to_images(decoded.ok_or_else(none)?);
            for picture in pixels.chunks(side * side * 3) {
                let image = Image::new(side, side, picture.to_vec());
                images.push(
                    image.map_err(|error| Error::invalid("decoded picture", "whole", error))?,
                );
            }
        }
        Ok(images)
    }

    /// Predicted latents `[horizon, latent]` of one sequence of actions in their own units, from a context of one latent: one action a
    /// model step, held for all of it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the context or an action has the wrong width.
    pub fn imagine(&self, context: &[f32], actions: &[Vec<f32>]) -> Result<Vec<f32>> {
        let Shape { latent, action, .. } = self.shape;
        let expected = format!("{latent} values");
        ensure(context.len() == latent, "context", expected, context.len())?;
        let fits = !actions.is_empty() && actions.iter().all(|values| values.len() == action);
        let expected = format!("at least one, of {action} values");
        ensure(fits, "actions", expected, format!("{actions:?}"))?;
        let context = TensorData::new(context.to_vec(), [1, latent]);
        let actions = TensorData::new(actions.concat(), [1, actions.len(), action]);
        let device = self.device();
        let context = Context::of_one(Tensor::from_data(context, &device));
        let latents = Dynamics::rollout(self, context, Tensor::from_data(actions, &device));
        Ok(latents.into_data().iter::<f32>().collect())
    }

    /// A planner within bounds, in the units of the recordings and with the model's `action_repeat`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when a setting is out of range or the bounds do not fit.
    pub fn planner(&self, config: PlanConfig, low: &[f32], high: &[f32]) -> Result<Planner> {
        let actions = ActionScale {
            low: low.to_vec(),
            high: high.to_vec(),
            ..self.interface.actions.clone()
        };
        let planner = Planner::in_units(config, &actions)?;
        Ok(planner.with_action_repeat(self.shape.action_repeat))
    }

    /// A plan for each problem, by the planner's objective. Latents are those of [`Self::encode_views`], in the plans too.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when planner or problem does not fit the model, or the model does not know the views asked for.
    pub fn plan(&self, planner: &Planner, problems: &[Problem]) -> Result<Vec<Plan>> {
        let config = planner.config();
        self.check(planner, problems)?;
        let distance = DistanceCost(&self.model);
        let cost: &dyn Cost = match config.objective {
            Objective::Latent => &ModelCost(&self.model),
            Objective::Distance => &distance,
        };
        if config.views == 1 {
            return planner.plan(self, cost, problems);
        }
        let views = Views::new(self, cost, config.views);
        planner.plan(&views, &views, problems)
    }

    /// Whether planner and problems are for this model.
    fn check(&self, planner: &Planner, problems: &[Problem]) -> Result<()> {
        let (config, shape) = (planner.config(), &self.shape);
        for problem in problems {
            let block = shape.block();
            let wrong = problem.past.iter().find(|values| values.len() != block);
            let found = wrong.map_or(block, Vec::len);
            let expected = format!("{block} values a model step");
            ensure(wrong.is_none(), "past actions", expected, found)?;
        }
        let knows = config.objective != Objective::Distance || shape.has_distance;
        let expected = "`latent`, for a model without an embedding to take distances in";
        ensure(knows, "objective", expected, "`distance`")?;
        let (repeat, found) = (shape.action_repeat, planner.actions_a_step());
        let expected = if config.hold { 1 } else { repeat };
        let what = "planner's actions a model step";
        ensure(found == expected, what, expected, found)?;
        if config.views == 1 {
            return Ok(());
        }
        let moves = "1, or a model whose actions are moves along the picture's two axes";
        let found = format!("{} values an action", shape.action);
        ensure(shape.action == 2, "views", moves, found)?;
        let trained = "1, or a model trained with `symmetries`";
        let found = format!("{} of a model without", config.views);
        ensure(shape.symmetries, "views", trained, found)
    }

    /// Actions in their own units, a model step's after one another, as the model takes them. `[rows, steps, values]`, and the same out
    fn normalized(&self, actions: Tensor<3>) -> Tensor<3> {
        let scale = &self.interface.actions;
        let (count, device) = (actions.dims()[2] / self.shape.action, actions.device());
        let row = |values: &[f32]| {
            let row = Tensor::<1>::from_floats(values, &device).reshape([1, 1, -1]);
            row.repeat_dim(2, count)
        };
        (actions - row(&scale.mean)) / (row(&scale.std) + 1e-8)
    }
}

impl Dynamics for WorldModel {
    fn device(&self) -> Device {
        self.model.devices().into_iter().next().unwrap_or_default()
    }

    fn latent(&self) -> usize {
        self.shape.latent
    }

    /// Each action is normalised, and where there is one a model step, held for `action_repeat` environment steps.
    fn rollout(&self, context: Context, actions: Tensor<3>) -> Tensor<3> {
        let planned = actions.dims()[2] / self.shape.action;
        let held = self.shape.action_repeat / planned;
        let blocks = self.normalized(actions).repeat_dim(2, held);
        let context = Context {
            blocks: context.blocks.map(|blocks| self.normalized(blocks)),
            ..context
        };
        Transition::rollout(&self.model, context, blocks)
    }
}

/// The model's own cost.
#[derive(Clone, Copy, Debug)]
pub struct ModelCost<'a>(pub &'a Model);

impl Cost for ModelCost<'_> {
    fn cost(&self, latents: Tensor<3>, goals: Tensor<2>) -> Tensor<2> {
        self.0.cost(latents, goals)
    }
}

/// Predicted model steps to the goal; of a model that knows no distance, its own cost.
#[derive(Clone, Copy, Debug)]
pub struct DistanceCost<'a>(pub &'a Model);

impl Cost for DistanceCost<'_> {
    fn cost(&self, latents: Tensor<3>, goals: Tensor<2>) -> Tensor<2> {
        let distance = self.0.distance(latents.clone(), goals.clone());
        distance.unwrap_or_else(|| self.0.cost(latents, goals))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::jepa::config::JepaConfig;
    use crate::jepa::tests::small_encoder;
    use crate::plan_config::PlanConfig;

    pub(crate) fn jepa_config(history: usize) -> JepaConfig {
        JepaConfig {
            image_size: 16,
            encoder: small_encoder(),
            decoder_channels: vec![8, 8],
            latent: 12,
            embedding: 4,
            history,
            action_repeat: 3,
            symmetries: true,
            ..JepaConfig::nano()
        }
    }

    pub(crate) fn world_model(history: usize) -> WorldModel {
        let config = jepa_config(history);
        let device = Device::flex();
        let model = Model::Jepa(config.init(0, &device).unwrap());
        let actions = ActionScale {
            mean: vec![1.0, 0.0],
            std: vec![2.0, 0.5],
            low: vec![-3.0, -1.0],
            high: vec![3.0, 1.0],
        };
        WorldModel::new(
            &model,
            Interface {
                cameras: vec!["top".to_owned()],
                actions,
                states: StateScale::default(),
            },
        )
        .unwrap()
    }

    #[test]
    fn every_camera_and_proprioception_go_into_a_latent() {
        let config = JepaConfig {
            cameras: 2,
            state: 2,
            symmetries: false,
            ..jepa_config(1)
        };
        let jepa = Model::Jepa(config.init(0, &Device::flex()).unwrap());
        let interface = Interface {
            cameras: vec!["top".to_owned(), "wrist".to_owned()],
            states: StateScale {
                mean: vec![1.0, 0.0],
                std: vec![2.0, 0.5],
            },
            ..world_model(1).interface().clone()
        };
        let model = WorldModel::new(&jepa, interface).unwrap();
        let images = [10, 200].map(|level| Image::filled(16, 16, [level, 9, 90]));
        let frame = |cameras: [usize; 2], state: &'static [f32]| Frame {
            images: cameras.map(|camera| &images[camera]).to_vec(),
            state,
        };
        let frames = [
            frame([0, 0], &[1.0, 0.0]),
            frame([0, 1], &[1.0, 0.0]),
            frame([1, 0], &[1.0, 0.0]),
            frame([0, 0], &[1.0, 0.5]),
        ];
        let latents = model.encode(&frames).unwrap();
        for (index, latent) in latents.iter().enumerate() {
            let alone = model.encode(&frames[index..=index]).unwrap();
            let apart = alone[0].iter().zip(latent).map(|(a, b)| (a - b).abs());
            assert!(apart.fold(0.0, f32::max) < 1e-5);
            assert!(latents[..index].iter().all(|other| other != latent));
        }
        let refusal = |frame: Frame<'_>| model.encode(&[frame]).unwrap_err().to_string();
        let found = refusal((&images[0]).into());
        assert_eq!(found, "pictures of a frame: expected 2, found 1");
        let found = refusal(frame([0, 0], &[1.0]));
        assert_eq!(found, "values of proprioception: expected 2, found 1");
    }

    #[test]
    fn pictures_become_latents_one_by_one() {
        let model = world_model(1);
        let images: Vec<_> = (0..70)
            .map(|level| Image::filled(16, 16, [level * 3, 0, 9]))
            .collect();
        let frames: Vec<_> = images.iter().map(Frame::from).collect();
        let latents = model.encode(&frames).unwrap();
        let alone = model.encode(&frames[66..67]).unwrap();
        assert_eq!((latents.len(), latents[0].len()), (70, 12));
        let furthest = latents[66]
            .iter()
            .zip(&alone[0])
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(furthest < 1e-5, "{furthest}");
        assert_eq!(model.decode(&latents.concat()).unwrap().len(), 70);
        let error = model
            .encode(&[(&Image::filled(16, 8, [0; 3])).into()])
            .unwrap_err()
            .to_string();
        assert_eq!(error, "picture: expected 16 x 16, found 16 x 8");
        assert!(model.decode(&[0.0; 13]).is_err());
    }

    #[test]
    fn actions_are_normalised_and_held() {
        let model = world_model(1);
        let device = Device::flex();
        let found = model.imagine(&[0.5; 12], &[vec![3.0, -0.5]]).unwrap();
        let block =
            Tensor::<1>::from_floats([1.0, -1.0, 1.0, -1.0, 1.0, -1.0], &device).reshape([1, 6]);
        let context = Context::of_one(Tensor::full([1, 12], 0.5, &device));
        let expected = model.model().predict(&context, block);
        for (found, expected) in found.iter().zip(expected.into_data().iter::<f32>()) {
            assert!((found - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn a_plan_does_not_depend_on_its_neighbours() {
        let model = world_model(1);
        let config = PlanConfig {
            num_samples: 50,
            rows: 400,
            ..PlanConfig::default()
        };
        let actions = &model.interface().actions;
        let planner = Planner::new(config, &actions.low, &actions.high).unwrap();
        let problem = |episode: u64| Problem {
            episode,
            step: 5,
            context: vec![episode as f32 / 20.0; 12],
            goal: vec![0.3; 12],
            past: Vec::new(),
            warm_start: Vec::new(),
        };
        let problems: Vec<_> = (0..11).map(problem).collect();
        let together = model.plan(&planner, &problems).unwrap();
        for index in [0, 5, 10] {
            let alone = model.plan(&planner, &problems[index..=index]).unwrap();
            assert_eq!(alone[0].actions, together[index].actions);
        }
    }

    #[test]
    fn plans_lie_within_the_bounds_and_tell_what_they_expect() {
        let model = world_model(2);
        for objective in [Objective::Latent, Objective::Distance] {
            let config = PlanConfig {
                objective,
                horizon: 3,
                num_samples: 32,
                num_elites: 8,
                ..PlanConfig::default()
            };
            let actions = &model.interface().actions;
            let planner = Planner::new(config, &actions.low, &actions.high).unwrap();
            let problem = Problem {
                episode: 0,
                step: 0,
                context: vec![0.0; 12],
                goal: vec![0.3; 12],
                past: Vec::new(),
                warm_start: Vec::new(),
            };
            let plans = model
                .plan(&planner, std::slice::from_ref(&problem))
                .unwrap();
            let inside = |action: &Vec<f32>| action[0].abs() <= 3.0 && action[1].abs() <= 1.0;
            assert!(plans[0].actions.iter().all(inside));
            let imagined = model.imagine(&problem.context, &plans[0].actions).unwrap();
            let furthest = imagined
                .iter()
                .zip(&plans[0].latents)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(furthest < 1e-5, "{furthest}");
        }
    }
}
