//! The settings of a [`DinoWm`](super::DinoWm): its shape, and the weights of its loss.

use armilla_nn::Activation;
use serde::{Deserialize, Serialize};

use crate::encoder::{ConvolutionsConfig, EncoderConfig, VitConfig};
use crate::error::{Result, ensure};
use crate::limits::{LARGEST, depth, sizes};

/// Shape of a [`DinoWm`](super::DinoWm).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DinoWmConfig {
    /// Side of the square picture.
    pub image_size: usize,
    /// Cameras, whose tokens stand side by side.
    pub cameras: usize,
    /// Values of proprioception, which every token carries; 0 for none.
    pub state: usize,
    /// Values that proprioception is brought to.
    pub state_embedding: usize,
    /// Pictures to tokens; never trained.
    pub encoder: EncoderConfig,
    /// The non-linearity of the encoder's convolutions; that of the model whose encoder it takes over, where it does.
    pub activation: Activation,
    /// Latents the predictor looks back on, the newest included.
    pub history: usize,
    /// Values of one action.
    pub action: usize,
    /// Environment steps, and so actions, a model step.
    pub action_repeat: usize,
    /// Values that an action block is brought to, which every token carries.
    pub action_embedding: usize,
    /// The predictor.
    pub predictor: TokenPredictorConfig,
    /// Width of the decoder of a token to its square of the picture; 0 for a model without.
    pub decoder_hidden: usize,
    /// Weight of proprioception in what a latent costs: 1 for `push-t` upstream; 0 compares pictures alone, though a goal still comes with
    /// its proprioception.
    pub state_cost_weight: f64,
    /// What the training minimises.
    pub loss: DinoWmLossConfig,
}

/// Settings of the causal transformer over the tokens of the last frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenPredictorConfig {
    /// Blocks.
    pub depth: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Features of a head.
    pub head_width: usize,
    /// Width of the feed-forward networks.
    pub hidden: usize,
    /// Share of values dropped in training.
    pub dropout: f64,
}

/// Weights and settings of the loss. A weight of 0 turns a term off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DinoWmLossConfig {
    /// Model steps that the predictor is rolled out over.
    pub rollout: usize,
    /// Pixel decoder; its gradient goes no further than to itself.
    pub decoder_weight: f64,
    /// Pictures of a batch that the decoder is trained on.
    pub decoder_frames: usize,
}

impl Default for DinoWmConfig {
    fn default() -> Self {
        Self::nano()
    }
}

impl Default for TokenPredictorConfig {
    fn default() -> Self {
        Self::nano()
    }
}

impl TokenPredictorConfig {
    fn paper() -> Self {
        Self {
            depth: 6,
            heads: 16,
            head_width: 64,
            hidden: 2048,
            dropout: 0.1,
        }
    }

    fn nano() -> Self {
        Self {
            depth: 2,
            heads: 4,
            head_width: 16,
            hidden: 256,
            dropout: 0.0,
        }
    }
}

impl Default for DinoWmLossConfig {
    fn default() -> Self {
        Self {
            rollout: 1,
            decoder_weight: 1.0,
            decoder_frames: 32,
        }
    }
}

impl DinoWmConfig {
    /// As published (arXiv 2411.04983): the 196 tokens of DINOv2's small vision transformer at 196 px, a predictor of six blocks over three
    /// frames, proprioception and actions of ten values each.
    #[must_use]
    pub fn paper() -> Self {
        Self {
            image_size: 196,
            cameras: 1,
            state: 4,
            state_embedding: 10,
            encoder: EncoderConfig::VisionTransformer(VitConfig::dinov2_small()),
            activation: Activation::Silu,
            history: 3,
            action: 2,
            action_repeat: 5,
            action_embedding: 10,
            predictor: TokenPredictorConfig::paper(),
            decoder_hidden: 512,
            state_cost_weight: 1.0,
            loss: DinoWmLossConfig::default(),
        }
    }

    /// 64 px in 16 tokens of 64 from the encoder of a small JEPA, two blocks over two frames: for a CPU.
    #[must_use]
    pub fn nano() -> Self {
        Self {
            image_size: 64,
            state: 0,
            encoder: EncoderConfig::Convolutions(ConvolutionsConfig::default()),
            history: 2,
            predictor: TokenPredictorConfig::nano(),
            decoder_hidden: 256,
            ..Self::paper()
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for the first that is out of range, with its key.
    pub fn validate(&self) -> Result<()> {
        sizes(&[
            ("image_size", self.image_size),
            ("cameras", self.cameras),
            ("state_embedding", self.state_embedding),
            ("history", self.history),
            ("action", self.action),
            ("action_repeat", self.action_repeat),
            ("action_embedding", self.action_embedding),
            ("predictor.heads", self.predictor.heads),
            ("predictor.head_width", self.predictor.head_width),
            ("predictor.hidden", self.predictor.hidden),
            ("loss.rollout", self.loss.rollout),
        ])?;
        for (key, value) in [
            ("state", self.state),
            ("decoder_hidden", self.decoder_hidden),
        ] {
            ensure(value <= LARGEST, key, format!("at most {LARGEST}"), value)?;
        }
        depth("predictor.depth", self.predictor.depth)?;
        self.encoder.validate(self.image_size)?;
        let dropout = self.predictor.dropout;
        let holds = (0.0..1.0).contains(&dropout);
        ensure(
            holds,
            "predictor.dropout",
            "at least 0 and below 1",
            dropout,
        )?;
        for (key, value) in [
            ("state_cost_weight", self.state_cost_weight),
            ("loss.decoder_weight", self.loss.decoder_weight),
        ] {
            let holds = value.is_finite() && value >= 0.0;
            ensure(holds, key, "a number of at least 0", value)?;
        }
        let weight = self.loss.decoder_weight;
        let holds = self.decoder_hidden > 0 || weight == 0.0;
        let expected = "0 without decoder_hidden";
        ensure(holds, "loss.decoder_weight", expected, weight)
    }

    /// Tokens of an observation.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.cameras * self.encoder.grid(self.image_size).pow(2)
    }

    /// Values of a token: of the encoder's, then of proprioception's.
    #[must_use]
    pub fn token(&self) -> usize {
        let state = if self.state > 0 {
            self.state_embedding
        } else {
            0
        };
        self.encoder.width() + state
    }

    /// Values of a latent.
    #[must_use]
    pub fn latent(&self) -> usize {
        self.tokens() * self.token()
    }

    /// Values of an action block: `action_repeat` actions one after the other.
    #[must_use]
    pub fn block(&self) -> usize {
        self.action * self.action_repeat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_published_ones() {
        let config = DinoWmConfig::paper();
        assert!(config.validate().is_ok() && DinoWmConfig::nano().validate().is_ok());
        assert_eq!((config.tokens(), config.token()), (196, 394));
        assert_eq!(DinoWmConfig::nano().latent(), 16 * 64);
    }

    #[test]
    fn every_wrong_setting_names_its_key() {
        type Change = fn(&mut DinoWmConfig);
        let wrong: [(&str, Change); 5] = [
            ("image_size", |c| c.image_size = 60),
            ("predictor.dropout", |c| c.predictor.dropout = 1.0),
            ("predictor.depth", |c| c.predictor.depth = usize::MAX),
            ("state_cost_weight", |c| c.state_cost_weight = f64::NAN),
            ("loss.decoder_weight", |c| c.decoder_hidden = 0),
        ];
        for (key, change) in wrong {
            let mut config = DinoWmConfig::nano();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(key), "{key}: {error}");
        }
    }
}
