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
use crate::scale::{ActionScale, StateScale, divisors};
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
    /// Control steps a second of the recordings, where known.
    pub rate_hz: Option<f64>,
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
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it has not the model's cameras, size of pictures or width of proprioception.
    pub fn check_frame(&self, frame: &Frame<'_>) -> Result<()> {
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

    /// The latent of [`Self::encode_views`] after a block of actions in their own units, from the latents before and the blocks between them:
    /// where a plan begins that is carried out later than its newest frame was seen.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when latents, blocks or views are none that the model knows.
    pub fn after(
        &self,
        views: usize,
        latents: &[Vec<f32>],
        past: &[Vec<f32>],
        block: &[f32],
    ) -> Result<Vec<f32>> {
        let (device, width) = (self.device(), views * self.shape.latent);
        let whole = !latents.is_empty() && latents.iter().all(|latent| latent.len() == width);
        let expected = format!("at least one, of {width} values");
        ensure(whole, "latents", expected, format!("{latents:?}"))?;
        let expected = latents.len() - 1;
        ensure(past.len() == expected, "past blocks", expected, past.len())?;
        self.check_views(views)?;
        self.check_blocks(past.iter().map(Vec::as_slice).chain([block]))?;
        let rows = |values: Vec<f32>, count: usize, width: usize| {
            Tensor::<3>::from_data(TensorData::new(values, [1, count, width]), &device)
        };
        let context = Context {
            latents: rows(latents.concat(), latents.len(), width),
            blocks: (!past.is_empty()).then(|| rows(past.concat(), past.len(), block.len())),
        };
        let actions = rows(block.to_vec(), 1, block.len());
        let found = match views {
            1 => Dynamics::rollout(self, context, actions),
            _ => Views::new(self, &ModelCost(&self.model), views).rollout(context, actions),
        };
        Ok(found.into_data().iter::<f32>().collect())
    }

    /// A planner within bounds, in the units of the recordings and with the model's `action_repeat`. A value that never moved in the
    /// recordings stays where it was.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when a setting is out of range or the bounds do not fit.
    pub fn planner(&self, config: PlanConfig, low: &[f32], high: &[f32]) -> Result<Planner> {
        let actions = self.interface.actions.within(low, high)?;
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
        self.check_planner(planner)?;
        let past = problems.iter().flat_map(|problem| &problem.past);
        self.check_blocks(past.map(Vec::as_slice))?;
        let distance = DistanceCost(&self.model);
        let cost: &dyn Cost = match config.objective {
            Objective::Latent => &ModelCost(&self.model),
            Objective::Distance => &distance,
        };
        let with_plane = PlaneCost {
            model: &self.model,
            objective: cost,
            weight: config.plane_weight,
        };
        let cost: &dyn Cost = match config.plane_weight > 0.0 {
            true => &with_plane,
            false => cost,
        };
        if config.views == 1 {
            return planner.plan(self, cost, problems);
        }
        let views = Views::new(self, cost, config.views);
        planner.plan(&views, &views, problems)
    }

    fn check_blocks<'a>(&self, mut blocks: impl Iterator<Item = &'a [f32]>) -> Result<()> {
        let block = self.shape.block();
        let wrong = blocks.find(|values| values.len() != block);
        let found = wrong.map_or(block, <[f32]>::len);
        let expected = format!("{block} values a model step");
        ensure(wrong.is_none(), "actions", expected, found)
    }

    fn check_views(&self, views: usize) -> Result<()> {
        if views == 1 {
            return Ok(());
        }
        let shape = &self.shape;
        let moves = "1, or a model whose actions are moves along the picture's two axes";
        let found = format!("{} values an action", shape.action);
        ensure(shape.action == 2, "views", moves, found)?;
        let trained = "1, or a model trained with `symmetries`";
        let found = format!("{views} of a model without");
        ensure(shape.symmetries, "views", trained, found)
    }

    /// Whether a planner is for this model.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when its objective, its actions, how many there are of them or its views are none that the model knows.
    pub fn check_planner(&self, planner: &Planner) -> Result<()> {
        planner.check_length()?;
        let (config, shape) = (planner.config(), &self.shape);
        let (width, found) = (shape.action, planner.space.action());
        let expected = format!("{width} values, as the model's actions have");
        ensure(found == width, "planner's action bounds", expected, found)?;
        let knows = config.objective != Objective::Distance || shape.has_distance;
        let expected =
            "`latent`, for a model without an embedding, or with a `loss.distance_weight` of 0";
        ensure(knows, "objective", expected, "`distance`")?;
        let weight = config.plane_weight;
        let knows = weight == 0.0 || shape.has_plane;
        let expected =
            "0 for a model without sprites or points, or with a `loss.plane_weight` of 0";
        ensure(knows, "plane_weight", expected, weight)?;
        let (repeat, found) = (shape.action_repeat, planner.actions_a_step());
        let expected = if config.hold { 1 } else { repeat };
        let what = "planner's actions a model step";
        ensure(found == expected, what, expected, found)?;
        self.check_views(config.views)
    }

    /// Actions in their own units, a model step's after one another, as the model takes them. `[rows, steps, values]`, and the same out
    fn normalized(&self, actions: Tensor<3>) -> Tensor<3> {
        let scale = &self.interface.actions;
        let (count, device) = (actions.dims()[2] / self.shape.action, actions.device());
        let row = |values: &[f32]| {
            let row = Tensor::<1>::from_floats(values, &device).reshape([1, 1, -1]);
            row.repeat_dim(2, count)
        };
        (actions - row(&scale.mean)) / (row(&divisors(&scale.std)) + 1e-8)
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

/// An objective, and what sprites' poses and points cost beside it.
struct PlaneCost<'a> {
    model: &'a Model,
    objective: &'a dyn Cost,
    weight: f32,
}

impl Cost for PlaneCost<'_> {
    fn cost(&self, latents: Tensor<3>, goals: Tensor<2>) -> Tensor<2> {
        let plane = self.model.plane_cost(latents.clone(), goals.clone());
        let objective = self.objective.cost(latents, goals);
        match plane {
            Some(plane) => objective + plane * self.weight,
            None => objective,
        }
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
pub(crate) mod tests;
