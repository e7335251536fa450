//! Every kind of policy there is. The next one is one line here.

use std::path::Path;

use armilla_nn::checkpoint::Weights;
use burn::module::ModuleDisplay;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::checkpoint::{CONFIG, Checkpoint, RATE, kind, published_gradients};
use super::draws::Draws;
use super::features::PolicyInputs;
use super::model::{Horizons, PolicyLoss, PolicyModel};
use super::processors::Processors;
use crate::act::Act;
use crate::batch::{PolicyBatch, PolicyObservations};
use crate::diffusion::Diffusion;
use crate::error::{Error, Result};
use crate::flow::FlowPolicy;
use crate::json::read;

/// A trained policy of any kind.
pub trait TrainedPolicy: Send {
    /// `type` in its `config.json`.
    fn kind(&self) -> &'static str;

    /// What it senses.
    fn inputs(&self) -> &PolicyInputs;

    /// How far it looks.
    fn horizons(&self) -> Horizons;

    /// Whether it can continue actions that are known.
    fn continues(&self) -> bool;

    /// What stands before and after it.
    fn processors(&self) -> &Processors;

    /// Steps a second of the recordings that it learnt from, where its checkpoint says so.
    fn rate_hz(&self) -> Option<f64>;

    /// See [`PolicyModel::sample_actions`].
    ///
    /// # Errors
    ///
    /// As there.
    fn sample_actions(
        &self,
        observations: &PolicyObservations,
        draws: &mut Draws<'_>,
    ) -> Result<Tensor<3>>;

    /// See [`PolicyModel::loss`].
    ///
    /// # Errors
    ///
    /// As there.
    fn loss(&self, batch: &PolicyBatch, draws: &mut Draws<'_>) -> Result<PolicyLoss>;

    /// The gradients of a loss under the names of its checkpoint; none on a device without autodiff.
    fn gradients(&self, loss: &Tensor<1>) -> Weights;

    /// Writes its directory.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    fn save(&self, directory: &Path) -> Result<()>;
}

impl<M: PolicyModel> TrainedPolicy for Checkpoint<M> {
    fn kind(&self) -> &'static str {
        M::KIND
    }

    fn inputs(&self) -> &PolicyInputs {
        self.model.inputs()
    }

    fn horizons(&self) -> Horizons {
        M::horizons(self.model.config())
    }

    fn continues(&self) -> bool {
        M::continues()
    }

    fn processors(&self) -> &Processors {
        &self.processors
    }

    fn rate_hz(&self) -> Option<f64> {
        self.train_config.as_ref()?.get(RATE)?.as_f64()
    }

    fn sample_actions(
        &self,
        observations: &PolicyObservations,
        draws: &mut Draws<'_>,
    ) -> Result<Tensor<3>> {
        self.model.sample_actions(observations, draws)
    }

    fn loss(&self, batch: &PolicyBatch, draws: &mut Draws<'_>) -> Result<PolicyLoss> {
        self.model.loss(batch, draws)
    }

    fn gradients(&self, loss: &Tensor<1>) -> Weights {
        published_gradients(&self.model, loss)
    }

    fn save(&self, directory: &Path) -> Result<()> {
        Self::save(self, directory)
    }
}

/// Does something with a policy of a kind that is known at run time only.
pub trait PolicyVisitor {
    /// What comes of it.
    type Output;

    /// Does it.
    fn visit<M: PolicyModel + ModuleDisplay>(self, config: &M::Config) -> Self::Output;
}

macro_rules! policies {
    ($($(#[$doc:meta])* $kind:ident($model:ty) = $name:literal,)*) => {
        /// The settings of a policy to train, by its kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type")]
        pub enum PolicyConfig {
            $($(#[$doc])* #[serde(rename = $name)] $kind(<$model as PolicyModel>::Config),)*
        }

        impl PolicyConfig {
            /// Hands the settings on as what they are.
            pub fn visit<V: PolicyVisitor>(&self, visitor: V) -> V::Output {
                match self {
                    $(Self::$kind(config) => visitor.visit::<$model>(config),)*
                }
            }
        }

        /// Every `type` that can be loaded.
        pub const KINDS: &[&str] = &[$(<$model as PolicyModel>::KIND),*];

        /// Reads a checkpoint's directory, of whatever kind it is.
        ///
        /// # Errors
        ///
        /// As [`Checkpoint::load`], and when there is no such kind.
        pub fn load_policy(directory: &Path, device: &Device) -> Result<Box<dyn TrainedPolicy>> {
            let path = directory.join(CONFIG);
            let kind = kind(&read(&path)?, &path)?;
            match kind.as_str() {
                $(<$model as PolicyModel>::KIND => {
                    Ok(Box::new(Checkpoint::<$model>::load(directory, device)?))
                })*
                _ => Err(Error::checkpoint(&path, "type", KINDS.join(", "), kind)),
            }
        }
    };
}

policies! {
    /// ACT.
    Act(Act) = "act",
    /// Diffusion Policy.
    Diffusion(Diffusion) = "diffusion",
    /// The flow-matching policy that reads instructions.
    Flow(FlowPolicy) = "armilla_flow",
}
