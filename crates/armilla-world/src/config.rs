//! The settings of a [`Jepa`](crate::Jepa): its shape, and the weights of its loss.

use armilla_nn::Activation;
use serde::{Deserialize, Serialize};

use crate::error::{Result, ensure};

/// No width, side or count is larger: settings come from files that anyone can have written.
const LARGEST: usize = 1 << 16;
/// No stack of layers is deeper.
const DEEPEST: usize = 1 << 10;

/// Shape of a [`Jepa`](crate::Jepa).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JepaConfig {
    /// Side of the square picture, a power of 2 times the side after the encoder's last layer.
    pub image_size: usize,
    /// Side of the patches that the encoder's first layer reads, as in a vision transformer. 1 makes that layer a convolution of
    /// stride 2 like the others, which sees across patches' borders and takes more than twice as long.
    pub patch: usize,
    /// Channels after each of the encoder's layers; all but a patch layer halve the side.
    pub channels: Vec<usize>,
    /// The non-linearity everywhere. A smooth one learns the temporal distance from far fewer samples.
    pub activation: Activation,
    /// Width of the projector's batch-normalised layer.
    pub projector_hidden: usize,
    /// Width of a latent, its embedding included.
    pub latent: usize,
    /// How many of a latent's values, its last, are its place in the space of the temporal distance.
    pub embedding: usize,
    /// Latents the predictor looks back on; 1 where one picture tells the whole state.
    pub history: usize,
    /// Values of one action.
    pub action: usize,
    /// Environment steps, and so actions, a model step.
    pub action_repeat: usize,
    /// Width of an action block's embedding.
    pub action_embedding: usize,
    /// Width of the predictor's layers.
    pub predictor_hidden: usize,
    /// Residual layers in the predictor.
    pub predictor_depth: usize,
    /// Channels of the decoder from the smallest picture on, one for each doubling back to the picture.
    pub decoder_channels: Vec<usize>,
    /// Whether training turns and mirrors its windows at random, which makes eight scenes of one: for a camera that looks down on actions
    /// that are moves along the picture's axes.
    pub symmetries: bool,
    /// What the training minimises.
    pub loss: LossConfig,
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
    /// Inverse dynamics: the block's mean action from the displacement of the latent.
    pub inverse_weight: f64,
    /// Pixel decoder; it never reaches the encoder, so the weight scales only the decoder's own steps.
    pub decoder_weight: f64,
    /// Pictures of a batch that the decoder is trained on.
    pub decoder_frames: usize,
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

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            rollout: 2,
            sigreg_weight: 0.09,
            sigreg_projections: 256,
            inverse_weight: 1.0,
            decoder_weight: 1.0,
            decoder_frames: 32,
            distance_weight: 1.0,
            distance_max: 40.0,
            distance_expectile: 0.5,
            distance_near_weight: 0.1,
        }
    }
}

impl JepaConfig {
    /// 64 px in patches of 4, one latent of 128 a frame, some 0.2 million parameters in the predictor: for a CPU.
    #[must_use]
    pub fn nano() -> Self {
        Self {
            image_size: 64,
            patch: 4,
            channels: vec![32, 64, 64],
            activation: Activation::Silu,
            projector_hidden: 256,
            latent: 128,
            embedding: 32,
            history: 1,
            action: 2,
            action_repeat: 5,
            action_embedding: 32,
            predictor_hidden: 256,
            predictor_depth: 2,
            decoder_channels: vec![64, 64, 32, 16],
            symmetries: false,
            loss: LossConfig::default(),
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for the first that is out of range, with its key.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("image_size", self.image_size),
            ("patch", self.patch),
            ("projector_hidden", self.projector_hidden),
            ("latent", self.latent),
            ("history", self.history),
            ("action", self.action),
            ("action_repeat", self.action_repeat),
            ("action_embedding", self.action_embedding),
            ("predictor_hidden", self.predictor_hidden),
            ("embedding", self.embedding),
            ("loss.rollout", self.loss.rollout),
            ("loss.sigreg_projections", self.loss.sigreg_projections),
        ];
        for (key, value) in sizes {
            let expected = format!("at least 1, at most {LARGEST}");
            ensure((1..=LARGEST).contains(&value), key, expected, value)?;
        }
        let expected = format!("up to {DEEPEST}");
        let depth = self.predictor_depth;
        ensure(depth <= DEEPEST, "predictor_depth", expected, depth)?;
        let expected = format!("less than latent, {}", self.latent);
        ensure(
            self.embedding < self.latent,
            "embedding",
            expected,
            self.embedding,
        )?;
        let shape = format!("{:?}", self.channels);
        let known = |sizes: &[usize]| sizes.iter().all(|size| (1..=LARGEST).contains(size));
        let filled = (1..=8).contains(&self.channels.len()) && known(&self.channels);
        let expected = format!("1 to 8 numbers from 1 to {LARGEST}");
        ensure(filled, "channels", expected, shape)?;
        let halvings = self.channels.len() - usize::from(self.patch > 1);
        let divisor = self.patch << halvings;
        let fits = self.patch.is_power_of_two();
        ensure(fits, "patch", "a power of 2", self.patch)?;
        let fits = self.image_size.is_multiple_of(divisor);
        let multiple = format!("a multiple of {divisor}, by patch and channels");
        ensure(fits, "image_size", multiple, self.image_size)?;
        let doublings = (self.image_size / self.smallest_side()).ilog2() as usize;
        let fits = self.decoder_channels.len() == doublings && known(&self.decoder_channels);
        let expected =
            format!("{doublings} numbers from 1 to {LARGEST}, as many as lead back to image_size");
        let found = format!("{:?}", self.decoder_channels);
        ensure(fits, "decoder_channels", expected, found)?;
        self.loss.validate()
    }

    /// Side of the picture after the encoder's last layer.
    #[must_use]
    pub fn smallest_side(&self) -> usize {
        let halvings = self.channels.len() - usize::from(self.patch > 1);
        self.image_size / (self.patch << halvings)
    }

    /// Values of a latent that are not its embedding.
    #[must_use]
    pub fn free(&self) -> usize {
        self.latent - self.embedding
    }

    /// Values of an action block: `action_repeat` actions one after the other.
    #[must_use]
    pub fn block(&self) -> usize {
        self.action * self.action_repeat
    }
}

impl LossConfig {
    /// Checks weights and ranges.
    fn validate(&self) -> Result<()> {
        let weights = [
            ("loss.sigreg_weight", self.sigreg_weight),
            ("loss.inverse_weight", self.inverse_weight),
            ("loss.decoder_weight", self.decoder_weight),
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
    }

    #[test]
    fn every_wrong_setting_names_its_key() {
        assert!(JepaConfig::nano().validate().is_ok());
        type Change = fn(&mut JepaConfig);
        let wrong: [(&str, Change); 11] = [
            ("latent", |c| c.latent = 1 << 40),
            ("predictor_depth", |c| c.predictor_depth = usize::MAX),
            ("channels", |c| c.channels[0] = 1 << 40),
            ("image_size", |c| c.image_size = 60),
            ("patch", |c| c.patch = 3),
            ("channels", |c| c.channels = vec![]),
            ("decoder_channels", |c| c.decoder_channels = vec![8]),
            ("history", |c| c.history = 0),
            ("embedding", |c| c.embedding = 128),
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
