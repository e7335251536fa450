//! The settings of a [`Jepa`](super::Jepa): its shape, and the weights of its loss.

use armilla_nn::Activation;
use serde::{Deserialize, Serialize};

use crate::encoder::{ConvolutionsConfig, EncoderConfig, VitConfig};
use crate::error::{Result, ensure};
use crate::limits::{LARGEST, MOST_DOUBLINGS, depth, sizes};

/// Shape of a [`Jepa`](crate::Jepa).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JepaConfig {
    /// Side of the square picture.
    pub image_size: usize,
    /// Cameras, each encoded alike.
    pub cameras: usize,
    /// Values of proprioception that go into a latent beside the pictures.
    pub state: usize,
    /// Pictures to features.
    pub encoder: EncoderConfig,
    /// The non-linearity of the networks that do not say another. A smooth one learns the temporal distance from far fewer samples.
    pub activation: Activation,
    /// Width of the projectors' batch-normalised layer.
    pub projector_hidden: usize,
    /// Width of a latent, its embedding included.
    pub latent: usize,
    /// How many of a latent's values are its place in the space of the temporal distance; 0 for a model without.
    pub embedding: usize,
    /// Sprites whose poses a latent holds, four values each, see [`sprites`](super::sprites): things that look the same in all recordings,
    /// before a ground that never changes, seen by one camera that looks down.
    pub sprites: usize,
    /// Points in the plane of the picture that a latent holds, two values each, see [`plane`](super::plane): for such a camera too.
    pub points: usize,
    /// Latents the predictor looks back on, itself included; 1 where one picture tells the whole state.
    pub history: usize,
    /// Values of one action.
    pub action: usize,
    /// Environment steps, and so actions, a model step.
    pub action_repeat: usize,
    /// Latents and an action block to the next latent.
    pub predictor: PredictorConfig,
    /// Channels of the decoder from the smallest picture on, one for each doubling back to the picture; empty for a model without.
    pub decoder_channels: Vec<usize>,
    /// Whether training turns and mirrors its windows at random, which makes eight scenes of one: for a camera that looks down on actions
    /// that are moves along the picture's axes.
    pub symmetries: bool,
    /// What the training minimises.
    pub loss: LossConfig,
}

/// How the next latent is predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PredictorConfig {
    /// A residual network over the last latents: for a planner on a CPU, which evaluates it by the million.
    Residual(ResidualConfig),
    /// A causal transformer that action blocks condition, as in LeWorldModel.
    Transformer(TransformerConfig),
}

/// Settings of [`PredictorConfig::Residual`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResidualConfig {
    /// Width of an action block's embedding.
    pub action_embedding: usize,
    /// Width of the layers.
    pub hidden: usize,
    /// Residual layers.
    pub depth: usize,
}

/// Settings of [`PredictorConfig::Transformer`]: LeWorldModel's by default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransformerConfig {
    /// Values that an action block is first brought to.
    pub action_embedding: usize,
    /// Width of the network from there to the condition.
    pub action_hidden: usize,
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

/// How the action is recovered from two latents, which makes them hold what the action moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InverseConfig {
    /// The block's mean action, by a small network.
    Mean,
    /// Each of the block's actions, by a transformer of as many queries, as in Delta-JEPA.
    Actions,
}

/// Weights and settings of the loss. A weight of 0 turns a term off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// Model steps that the predictor is rolled out over.
    pub rollout: usize,
    /// SIGReg: 0.09 in LeWorldModel, healthy from 0.01 to 0.2.
    pub sigreg_weight: f64,
    /// Random directions SIGReg looks along.
    pub sigreg_projections: usize,
    /// Inverse dynamics: the block's actions from the displacement of the latent; 10 in Delta-JEPA.
    pub inverse_weight: f64,
    /// What inverse dynamics recovers.
    pub inverse: InverseConfig,
    /// Variance: how far each value's standard deviation over the batch's frames falls short of 1; 16 in EB-JEPA.
    pub variance_weight: f64,
    /// Covariance: the squares of what pairs of values have in common, the mean over the pairs; 8 in EB-JEPA.
    pub covariance_weight: f64,
    /// Time similarity: squared distance of latents a model step apart; 12 in EB-JEPA.
    pub time_similarity_weight: f64,
    /// Pixel decoder; unless `decoder_trains_encoder`, the weight scales only the decoder's own steps.
    pub decoder_weight: f64,
    /// Whether latents must hold what the pictures show: the decoder's gradient goes on into the encoder.
    pub decoder_trains_encoder: bool,
    /// Pictures of a batch that the decoder is trained on.
    pub decoder_frames: usize,
    /// Sprites that paint pictures, and points that move as pictures do.
    pub plane_weight: f64,
    /// Temporal distance.
    pub distance_weight: f64,
    /// Distances above this many blocks count as this many.
    pub distance_max: f64,
    /// Weight of over-estimates against under-estimates, in (0, 1): 0.5 fits the middle; above, shorter of the ways seen.
    pub distance_expectile: f64,
    /// Weight of a pair within the window beside one with the later picture. Recordings are nearly straight over a short while, and
    /// pairs of this kind drown what the others tell about ways around walls.
    pub distance_near_weight: f64,
}

impl Default for JepaConfig {
    fn default() -> Self {
        Self::nano()
    }
}

impl Default for ResidualConfig {
    fn default() -> Self {
        Self {
            action_embedding: 32,
            hidden: 256,
            depth: 2,
        }
    }
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            action_embedding: 10,
            action_hidden: 768,
            depth: 6,
            heads: 16,
            head_width: 64,
            hidden: 2048,
            dropout: 0.1,
        }
    }
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            rollout: 2,
            sigreg_weight: 0.09,
            sigreg_projections: 256,
            inverse_weight: 1.0,
            inverse: InverseConfig::Mean,
            variance_weight: 0.0,
            covariance_weight: 0.0,
            time_similarity_weight: 0.0,
            decoder_weight: 1.0,
            decoder_trains_encoder: false,
            decoder_frames: 32,
            plane_weight: 25.0,
            distance_weight: 1.0,
            distance_max: 40.0,
            distance_expectile: 0.5,
            distance_near_weight: 0.1,
        }
    }
}

impl JepaConfig {
    /// 64 px through four convolutions, one latent of 128 a frame, some 0.2 million parameters in the predictor: for a CPU.
    #[must_use]
    pub fn nano() -> Self {
        Self {
            image_size: 64,
            cameras: 1,
            state: 0,
            encoder: EncoderConfig::Convolutions(ConvolutionsConfig::default()),
            activation: Activation::Silu,
            projector_hidden: 256,
            latent: 128,
            embedding: 32,
            sprites: 0,
            points: 0,
            history: 1,
            action: 2,
            action_repeat: 5,
            predictor: PredictorConfig::Residual(ResidualConfig::default()),
            decoder_channels: vec![64, 64, 32, 16],
            symmetries: false,
            loss: LossConfig::default(),
        }
    }

    /// LeWorldModel as published (arXiv 2603.19312): ViT-tiny at 224 px, a predictor of six blocks over three latents, prediction and SIGReg
    /// alone; with two values an action 18,042,672 values in PyTorch's checkpoint, of which 18,034,478 are trained and the others are batch normalisation's.
    #[must_use]
    pub fn lewm() -> Self {
        Self {
            image_size: 224,
            encoder: EncoderConfig::VisionTransformer(VitConfig::default()),
            activation: Activation::Gelu,
            projector_hidden: 2048,
            latent: 192,
            embedding: 0,
            history: 3,
            predictor: PredictorConfig::Transformer(TransformerConfig::default()),
            decoder_channels: Vec::new(),
            loss: LossConfig {
                rollout: 1,
                sigreg_projections: 1024,
                inverse_weight: 0.0,
                decoder_weight: 0.0,
                distance_weight: 0.0,
                ..LossConfig::default()
            },
            ..Self::nano()
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
            ("projector_hidden", self.projector_hidden),
            ("latent", self.latent),
            ("history", self.history),
            ("action", self.action),
            ("action_repeat", self.action_repeat),
            ("loss.rollout", self.loss.rollout),
            ("loss.sigreg_projections", self.loss.sigreg_projections),
        ])?;
        let expected = format!("at most {LARGEST}");
        ensure(self.state <= LARGEST, "state", expected, self.state)?;
        let alone = self.cameras == 1 && self.state == 0;
        let expected = "false for several cameras or proprioception, which are not turned";
        ensure(alone || !self.symmetries, "symmetries", expected, true)?;
        let expected = format!("less than latent, {}", self.latent);
        let holds = self.embedding < self.latent;
        ensure(holds, "embedding", expected, self.embedding)?;
        self.validate_plane()?;
        self.encoder.validate(self.image_size)?;
        self.predictor.validate()?;
        self.validate_decoder()?;
        let alone = self.state == 0 || self.loss.distance_weight == 0.0;
        let expected =
            "0 beside `state`: the later pictures that distances are learnt from come without one";
        let found = self.loss.distance_weight;
        ensure(alone, "loss.distance_weight", expected, found)?;
        let needed = self.embedding > 0 || self.loss.distance_weight == 0.0;
        let expected = "0 without an embedding to take distances in";
        let found = self.loss.distance_weight;
        ensure(needed, "loss.distance_weight", expected, found)?;
        self.loss.validate()
    }

    fn validate_plane(&self) -> Result<()> {
        let expected = format!("at most {LARGEST}");
        for (key, found) in [("sprites", self.sprites), ("points", self.points)] {
            ensure(found <= LARGEST, key, &expected, found)?;
        }
        let (rest, found) = (self.latent - self.embedding, self.plane());
        let expected =
            format!("fewer values (4 a sprite, 2 a point) than latent - embedding, {rest}");
        ensure(found < rest, "sprites and points", expected, found)?;
        let holds = self.cameras == 1 || found == 0;
        ensure(holds, "sprites and points", "0 for several cameras", found)
    }

    fn validate_decoder(&self) -> Result<()> {
        let channels = &self.decoder_channels;
        if channels.is_empty() {
            let weight = self.loss.decoder_weight;
            let expected = "0 without decoder_channels";
            return ensure(weight == 0.0, "loss.decoder_weight", expected, weight);
        }
        let expected = format!(
            "1 to {MOST_DOUBLINGS} numbers from 1 to {LARGEST}, each doubling a side up to image_size, a multiple"
        );
        let known = channels.iter().all(|size| (1..=LARGEST).contains(size));
        let fits = known
            && channels.len() <= MOST_DOUBLINGS
            && self.image_size.is_multiple_of(1 << channels.len());
        ensure(fits, "decoder_channels", expected, format!("{channels:?}"))
    }

    /// Side of the picture that the decoder starts from.
    #[must_use]
    pub fn smallest_side(&self) -> usize {
        self.image_size >> self.decoder_channels.len()
    }

    /// Values of a latent that the projector makes: all but its embedding, poses and points.
    #[must_use]
    pub fn free(&self) -> usize {
        self.pictured() - self.embedding
    }

    /// Values of a latent that pictures are decoded from: all but poses and points.
    #[must_use]
    pub fn pictured(&self) -> usize {
        self.latent - self.plane()
    }

    /// Values of a latent that are sprites' poses and points.
    #[must_use]
    pub fn plane(&self) -> usize {
        4 * self.sprites + 2 * self.points
    }

    /// Values of an action block: `action_repeat` actions one after the other.
    #[must_use]
    pub fn block(&self) -> usize {
        self.action * self.action_repeat
    }
}

impl PredictorConfig {
    /// Share of values dropped in training.
    #[must_use]
    pub fn dropout(&self) -> f64 {
        match self {
            Self::Residual(_) => 0.0,
            Self::Transformer(config) => config.dropout,
        }
    }

    fn validate(&self) -> Result<()> {
        match self {
            Self::Residual(config) => {
                sizes(&[
                    ("predictor.action_embedding", config.action_embedding),
                    ("predictor.hidden", config.hidden),
                ])?;
                depth("predictor.depth", config.depth)
            }
            Self::Transformer(config) => {
                sizes(&[
                    ("predictor.action_embedding", config.action_embedding),
                    ("predictor.action_hidden", config.action_hidden),
                    ("predictor.heads", config.heads),
                    ("predictor.head_width", config.head_width),
                    ("predictor.hidden", config.hidden),
                ])?;
                depth("predictor.depth", config.depth)?;
                let holds = (0.0..1.0).contains(&config.dropout);
                let expected = "at least 0 and below 1";
                ensure(holds, "predictor.dropout", expected, config.dropout)
            }
        }
    }
}

impl LossConfig {
    /// Checks weights and ranges.
    fn validate(&self) -> Result<()> {
        let weights = [
            ("loss.sigreg_weight", self.sigreg_weight),
            ("loss.inverse_weight", self.inverse_weight),
            ("loss.variance_weight", self.variance_weight),
            ("loss.covariance_weight", self.covariance_weight),
            ("loss.time_similarity_weight", self.time_similarity_weight),
            ("loss.decoder_weight", self.decoder_weight),
            ("loss.plane_weight", self.plane_weight),
            ("loss.distance_weight", self.distance_weight),
            ("loss.distance_near_weight", self.distance_near_weight),
        ];
        for (key, value) in weights {
            let holds = value.is_finite() && value >= 0.0;
            ensure(holds, key, "a number of at least 0", value)?;
        }
        let (max, expectile) = (self.distance_max, self.distance_expectile);
        let holds = max.is_finite() && max > 0.0;
        ensure(holds, "loss.distance_max", "a number above 0", max)?;
        let holds = expectile > 0.0 && expectile < 1.0;
        ensure(
            holds,
            "loss.distance_expectile",
            "above 0 and below 1",
            expectile,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_overrides_the_preset_and_refuses_unknown_keys() {
        let config: JepaConfig =
            toml::from_str("latent = 64\n[loss]\nsigreg_weight = 0.1").unwrap();
        assert_eq!((config.latent, config.image_size), (64, 64));
        assert!((config.loss.sigreg_weight - 0.1).abs() < 1e-12);
        let error = toml::from_str::<JepaConfig>("latents = 64").unwrap_err();
        assert!(error.to_string().contains("latents"), "{error}");
        let config: JepaConfig =
            toml::from_str("[predictor]\nkind = \"transformer\"\ndepth = 2").unwrap();
        let expected = TransformerConfig {
            depth: 2,
            ..TransformerConfig::default()
        };
        assert_eq!(config.predictor, PredictorConfig::Transformer(expected));
        let error = toml::from_str::<JepaConfig>("[encoder]\nkind = \"convolutions\"\npatches = 4");
        assert!(error.unwrap_err().to_string().contains("patches"));
    }

    #[test]
    fn every_wrong_setting_names_its_key() {
        assert!(JepaConfig::nano().validate().is_ok());
        assert!(JepaConfig::lewm().validate().is_ok());
        type Change = fn(&mut JepaConfig);
        fn convolutions(patch: usize, channels: &[usize]) -> EncoderConfig {
            let channels = channels.to_vec();
            EncoderConfig::Convolutions(ConvolutionsConfig { patch, channels })
        }
        fn residual(depth: usize) -> PredictorConfig {
            PredictorConfig::Residual(ResidualConfig {
                depth,
                ..ResidualConfig::default()
            })
        }
        let wrong: [(&str, Change); 18] = [
            ("latent", |c| c.latent = 1 << 40),
            ("predictor.depth", |c| c.predictor = residual(usize::MAX)),
            ("encoder.channels", |c| {
                c.encoder = convolutions(4, &[1 << 40])
            }),
            ("image_size", |c| c.image_size = 60),
            ("encoder.patch", |c| c.encoder = convolutions(3, &[8])),
            ("encoder.channels", |c| c.encoder = convolutions(4, &[])),
            ("encoder.heads", |c| {
                c.image_size = 28;
                c.encoder = EncoderConfig::VisionTransformer(VitConfig {
                    heads: 5,
                    ..VitConfig::default()
                });
            }),
            ("decoder_channels", |c| c.decoder_channels = vec![0]),
            ("loss.decoder_weight", |c| c.decoder_channels = vec![]),
            ("loss.distance_weight", |c| c.embedding = 0),
            ("history", |c| c.history = 0),
            ("embedding", |c| c.embedding = 128),
            ("sprites", |c| c.sprites = usize::MAX),
            ("loss.distance_weight", |c| c.state = 2),
            ("sprites and points", |c| (c.sprites, c.points) = (20, 8)),
            ("sprites and points", |c| (c.sprites, c.cameras) = (4, 2)),
            ("loss.distance_weight", |c| {
                c.loss.distance_weight = f64::NAN
            }),
            ("loss.distance_expectile", |c| {
                c.loss.distance_expectile = 1.0
            }),
        ];
        for (key, change) in wrong {
            let mut config = JepaConfig::nano();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(key), "{key}: {error}");
        }
    }
}
