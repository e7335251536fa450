//! Settings of Diffusion Policy.

use armilla_nn::resnet::ResNetNorm;
use serde::{Deserialize, Serialize};

use super::scheduler::SchedulerConfig;
use crate::error::{Error, Result};
use crate::lerobot::PolicyInputs;

/// Names are checked with sizes from files that anyone can have written.
const LARGEST: usize = 1 << 14;
/// Groups of the U-Net's last normalisation, whatever the settings say of the others.
pub(super) const LAST_GROUPS: usize = 8;

/// Settings of a [`Diffusion`](super::Diffusion).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionConfig {
    /// Steps of observations that are looked at, the present one included.
    pub history: usize,
    /// Actions denoised at once, counted from the first of those observations; divisible by 2 for each of `widths`.
    pub action_horizon: usize,
    /// Of these, actions carried out before the next are asked for, counted from the present observation.
    pub receding_horizon: usize,
    /// If given, rows and columns that pictures are resized to, px.
    pub resize: Option<[usize; 2]>,
    /// Share of both sides that a crop of resized pictures keeps; 1 crops none.
    pub crop_ratio: f64,
    /// If given, rows and columns that are cropped out of pictures which are not resized, px.
    pub crop: Option<[usize; 2]>,
    /// Whether crops lie anywhere in training; when acting they lie in the middle.
    pub random_crop: bool,
    /// Whether pictures' features are normalised in groups of channels instead of over the batch.
    pub group_norm: bool,
    /// Points that a camera's features are placed at.
    pub keypoints: usize,
    /// Whether each camera has an encoder of its own.
    pub separate_encoders: bool,
    /// Channels of the U-Net's levels, each half as long as the one before.
    pub widths: Vec<usize>,
    /// Steps that its convolutions cover; odd.
    pub taps: usize,
    /// Groups of channels in its normalisations.
    pub groups: usize,
    /// Features of the denoising step's embedding; even.
    pub step_width: usize,
    /// Whether the condition also scales channels, beside shifting them.
    pub scale: bool,
    /// How noise comes and goes.
    pub scheduler: SchedulerConfig,
    /// Whether the loss leaves actions past their episode's end out.
    pub mask_padding: bool,
}

impl Default for DiffusionConfig {
    fn default() -> Self {
        Self::nano()
    }
}

impl DiffusionConfig {
    /// As published for pictures of 96 x 96 px. LeRobot's defaults were these up to 0.5.1; in 0.6.1 the horizon is 64 of which 32 are
    /// carried out, pictures are not cropped, and each camera has an encoder with batch normalisation that begins at `ImageNet`'s weights.
    #[must_use]
    pub fn paper() -> Self {
        Self {
            history: 2,
            action_horizon: 16,
            receding_horizon: 8,
            resize: None,
            crop_ratio: 1.0,
            crop: Some([84, 84]),
            random_crop: true,
            group_norm: true,
            keypoints: 32,
            separate_encoders: false,
            widths: vec![512, 1024, 2048],
            taps: 5,
            groups: 8,
            step_width: 128,
            scale: true,
            scheduler: SchedulerConfig::paper(),
            mask_padding: false,
        }
    }

    /// For training on two cores.
    #[must_use]
    pub fn nano() -> Self {
        Self {
            history: 1,
            crop: None,
            keypoints: 16,
            widths: vec![64, 128],
            taps: 3,
            step_width: 32,
            scheduler: SchedulerConfig::nano(),
            ..Self::paper()
        }
    }

    /// Rows and columns of a crop, if pictures are cropped.
    #[must_use]
    pub fn cropped(&self) -> Option<[usize; 2]> {
        let Some(resized) = self.resize else {
            return self.crop;
        };
        let share = |side: usize| (side as f64 * self.crop_ratio) as usize;
        (self.crop_ratio < 1.0).then(|| resized.map(share))
    }

    /// Rows and columns of what an encoder sees of pictures of so many.
    pub(super) fn seen(&self, picture: [usize; 2]) -> [usize; 2] {
        let resized = self.resize.unwrap_or(picture);
        self.cropped().unwrap_or(resized)
    }

    /// What stands after the convolutions of an encoder.
    pub(super) fn norm(&self) -> ResNetNorm {
        if self.group_norm {
            ResNetNorm::Group
        } else {
            ResNetNorm::Batch
        }
    }

    /// Checks the settings against what the policy senses.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the key.
    pub fn validate(&self, inputs: &PolicyInputs) -> Result<()> {
        self.validate_sizes(inputs)?;
        let halvings = u32::try_from(self.widths.len()).unwrap_or(u32::MAX);
        let multiple = 2usize.checked_pow(halvings).unwrap_or(usize::MAX);
        if self.widths.is_empty() || !self.action_horizon.is_multiple_of(multiple) {
            let expected = format!("a multiple of {multiple}, of 2 for each of one or more widths");
            return Err(Error::config(
                "action_horizon",
                expected,
                self.action_horizon,
            ));
        }
        let most = (self.action_horizon + 1).saturating_sub(self.history);
        if !(1..=most).contains(&self.receding_horizon) {
            let expected = format!("1 to {most}, the actions from the present observation on");
            let found = self.receding_horizon;
            return Err(Error::config("receding_horizon", expected, found));
        }
        for (index, width) in self.widths.iter().enumerate() {
            let last = if index == 0 { LAST_GROUPS } else { 1 };
            if !width.is_multiple_of(self.groups) || !width.is_multiple_of(last) {
                let expected = format!("a multiple of {} groups and of {last}", self.groups);
                return Err(Error::config("widths", expected, width));
            }
        }
        if self.taps.is_multiple_of(2) {
            return Err(Error::config("taps", "an odd number", self.taps));
        }
        if self.step_width < 4 || !self.step_width.is_multiple_of(2) {
            let expected = "an even number from 4";
            return Err(Error::config("step_width", expected, self.step_width));
        }
        self.validate_pictures(inputs)?;
        self.scheduler.validate()
    }

    fn validate_sizes(&self, inputs: &PolicyInputs) -> Result<()> {
        let environment_state = inputs.environment_state.unwrap_or(1);
        let sizes = [
            ("history", self.history),
            ("action_horizon", self.action_horizon),
            ("keypoints", self.keypoints),
            ("taps", self.taps),
            ("groups", self.groups),
            ("step_width", self.step_width),
            ("action", inputs.action),
            ("observation.state", inputs.state.unwrap_or(0)),
            ("observation.environment_state", environment_state),
        ];
        let widths = self.widths.iter().map(|&width| ("widths", width));
        for (key, value) in sizes.into_iter().chain(widths) {
            if !(1..=LARGEST).contains(&value) {
                return Err(Error::config(key, format!("1 to {LARGEST}"), value));
            }
        }
        if inputs.cameras.is_empty() && inputs.environment_state.is_none() {
            let expected = "a camera or observation.environment_state";
            return Err(Error::config("inputs", expected, "neither"));
        }
        Ok(())
    }

    fn validate_pictures(&self, inputs: &PolicyInputs) -> Result<()> {
        let ratio = self.crop_ratio;
        if !(ratio > 0.0 && ratio <= 1.0) {
            return Err(Error::config("crop_ratio", "above 0 and up to 1", ratio));
        }
        if self.resize.is_some() && self.crop.is_some() {
            let expected = "none beside `resize`, whose `crop_ratio` says it";
            return Err(Error::config("crop", expected, format!("{:?}", self.crop)));
        }
        let mut sizes = inputs.cameras.iter().map(|camera| {
            let size = [camera.height, camera.width];
            (camera.key.as_str(), size)
        });
        let Some((_, size)) = sizes.next() else {
            return Ok(());
        };
        if let Some((key, other)) = sizes.find(|(_, other)| *other != size) {
            let expected = format!("{size:?} px as of the first camera");
            return Err(Error::config(key, expected, format!("{other:?}")));
        }
        let whole = self.resize.unwrap_or(size);
        for (key, found, most) in [
            (inputs.cameras[0].key.as_str(), size, [LARGEST; 2]),
            ("resize", whole, [LARGEST; 2]),
            ("crop", self.seen(size), whole),
        ] {
            let fits = |(found, most): (&usize, &usize)| (1..=*most).contains(found);
            if !found.iter().zip(&most).all(fits) {
                let expected = format!("1 to {most:?} px");
                return Err(Error::config(key, expected, format!("{found:?}")));
            }
        }
        Ok(())
    }
}
