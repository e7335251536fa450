//! What open-loop rollouts are worth, step by step, beside keeping the last frame seen.

use armilla_core::{Error, Image, Result};
use armilla_world::WorldModel;
use rayon::prelude::*;

use crate::footage::{Encoded, Window, latent_error, predict};
use crate::similarity::{psnr, squared_difference, ssim};

/// One prediction beside what came. Each figure of the model first, then of the frame kept.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Mean squared errors of latents.
    pub latent: [f64; 2],
    /// Of pictures, where the model has a decoder: of the model, of the frame kept, and of the true latent decoded.
    pub pictures: Option<[PictureError; 3]>,
}

/// How far a picture is from what came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PictureError {
    /// Mean squared difference, values in `[0, 1]`.
    pub squared: f64,
    /// Structural similarity.
    pub ssim: f64,
}

/// Rolls out from each window and compares every step with what came: `[windows][steps]`.
///
/// # Errors
///
/// When pictures are too small to compare.
pub fn measure(
    model: &WorldModel,
    episodes: &[Encoded],
    windows: &[Window],
    steps: usize,
) -> Result<Vec<Vec<Measured>>> {
    let width = model.shape().latent;
    let predicted = predict(model, episodes, windows, steps);
    let pictures = decoded(model, &predicted)?;
    let of_window = |(at, window): (usize, &Window)| {
        let seen = Seen {
            episode: &episodes[window.episode],
            start: window.start,
        };
        let first = at * steps;
        let latents = predicted[first * width..(first + steps) * width].chunks(width);
        let pictures = pictures.as_ref().map(|all| &all[first..first + steps]);
        let errors = match pictures {
            Some(pictures) => seen.picture_errors(model, pictures)?,
            None => vec![None; steps],
        };
        let each = latents.zip(errors).enumerate();
        let measured = each.map(|(step, (latent, pictures))| Measured {
            latent: seen.latent_errors(latent, step + 1),
            pictures,
        });
        Ok(measured.collect())
    };
    windows.par_iter().enumerate().map(of_window).collect()
}

/// The pictures of latents, if the model can draw them.
fn decoded(model: &WorldModel, latents: &[f32]) -> Result<Option<Vec<Image>>> {
    if !has_decoder(model) {
        return Ok(None);
    }
    let pictures = model.decode(latents);
    Ok(Some(pictures.map_err(|error| {
        Error::behind("decoding a rollout", error)
    })?))
}

/// Whether a model can draw its latents.
#[must_use]
pub fn has_decoder(model: &WorldModel) -> bool {
    model.decode(&vec![0.0; model.shape().latent]).is_ok()
}

/// An episode from a window's start on.
struct Seen<'a> {
    episode: &'a Encoded,
    start: usize,
}

impl Seen<'_> {
    fn latent_errors(&self, guess: &[f32], ahead: usize) -> [f64; 2] {
        let Encoded { latents, .. } = self.episode;
        let truth = &latents[self.start + ahead];
        [guess, &latents[self.start]].map(|guess| latent_error(guess, truth))
    }

    fn picture_errors(
        &self,
        model: &WorldModel,
        imagined: &[Image],
    ) -> Result<Vec<Option<[PictureError; 3]>>> {
        let Encoded { footage, latents } = self.episode;
        let came = self.start + 1..self.start + 1 + imagined.len();
        let best = decoded(model, &latents[came.clone()].concat())?.unwrap_or_default();
        let kept = &footage.images[self.start];
        let each = footage.images[came].iter().zip(imagined).zip(&best);
        let errors = each.map(|((truth, imagined), best)| {
            let error = |guess| {
                Ok(PictureError {
                    squared: squared_difference(guess, truth)?,
                    ssim: ssim(guess, truth)?,
                })
            };
            Ok(Some([error(imagined)?, error(kept)?, error(best)?]))
        });
        errors.collect()
    }
}

/// Means over many predictions equally far ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// Predictions.
    pub windows: usize,
    /// Error of the predicted latent, in shares of the latents' variance.
    pub latent_error: f64,
    /// The same of keeping the last frame.
    pub copy_latent_error: f64,
    /// What the pictures are worth, where there are any.
    pub pictures: Option<[PictureScores; 3]>,
}

/// What pictures are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PictureScores {
    /// PSNR of the mean squared difference over all pictures, dB: one perfect copy does not make it infinite.
    pub psnr_db: f64,
    /// Mean structural similarity.
    pub ssim: f64,
}

impl Scores {
    /// The means; none without a prediction. `variance` is that of the latents.
    #[must_use]
    pub fn of(measured: &[Measured], variance: f64) -> Option<Self> {
        let count = measured.len() as f64;
        let mean =
            |value: &dyn Fn(&Measured) -> f64| measured.iter().map(value).sum::<f64>() / count;
        let picture = |which: usize| {
            let each: Option<Vec<_>> = measured.iter().map(|one| one.pictures).collect();
            let each = each?;
            let mean = |value: &dyn Fn(&PictureError) -> f64| {
                each.iter().map(|errors| value(&errors[which])).sum::<f64>() / count
            };
            Some(PictureScores {
                psnr_db: psnr(mean(&|error| error.squared)),
                ssim: mean(&|error| error.ssim),
            })
        };
        let pictures = || Some([picture(0)?, picture(1)?, picture(2)?]);
        (!measured.is_empty()).then(|| Self {
            windows: measured.len(),
            latent_error: mean(&|one| one.latent[0]) / variance,
            copy_latent_error: mean(&|one| one.latent[1]) / variance,
            pictures: pictures(),
        })
    }

    /// 1 minus the model's error over that of keeping the last frame: 1 is perfect, below 0 is worse than keeping it. None where
    /// nothing moves.
    #[must_use]
    pub fn skill(&self) -> Option<f64> {
        (self.copy_latent_error > 0.0).then(|| 1.0 - self.latent_error / self.copy_latent_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footage::tests::{episode, model};
    use crate::footage::{variance, windows};

    #[test]
    fn scores_by_hand() {
        let one = |latent, squared| Measured {
            latent,
            pictures: Some([0.5, 1.0, 0.25].map(|share| PictureError {
                squared: squared * share,
                ssim: share,
            })),
        };
        let scores = Scores::of(&[one([1.0, 4.0], 0.0), one([2.0, 2.0], 0.02)], 2.0).unwrap();
        assert_eq!((scores.windows, scores.latent_error), (2, 0.75));
        assert_eq!(scores.copy_latent_error, 1.5);
        assert_eq!(scores.skill(), Some(0.5));
        let [imagined, kept, best] = scores.pictures.unwrap();
        assert!((kept.psnr_db - 20.0).abs() < 1e-9);
        assert!((imagined.psnr_db - 23.010_3).abs() < 1e-4);
        assert_eq!((imagined.ssim, best.ssim), (0.5, 0.25));
        assert_eq!(Scores::of(&[], 1.0), None);
        assert_eq!(Scores::default().skill(), None);
    }

    #[test]
    fn the_frame_kept_is_the_first_one() {
        let model = model(1, vec![4, 4]);
        let encoded = [episode(12), episode(9)].map(|each| each.encode(&model).unwrap());
        let windows = windows(&encoded, 1, 3, 3);
        let measured = measure(&model, &encoded, &windows, 3).unwrap();
        assert_eq!((measured.len(), measured[0].len()), (3, 3));
        let [_, kept, _] = measured[0][1].pictures.unwrap();
        // Four control steps make the red channel 36 brighter.
        assert!((kept.squared - (36.0_f64 / 255.0).powi(2) / 3.0).abs() < 1e-9);
        let truth = latent_error(&encoded[0].latents[0], &encoded[0].latents[2]);
        assert_eq!(measured[0][1].latent[1], truth);
        let scores = Scores::of(&measured[0], variance(&encoded)).unwrap();
        assert!(scores.latent_error.is_finite() && scores.pictures.is_some());
    }

    #[test]
    fn without_a_decoder_only_latents_are_compared() {
        let model = model(1, Vec::new());
        assert!(!has_decoder(&model));
        let encoded = [episode(6).encode(&model).unwrap()];
        let windows = windows(&encoded, 1, 2, 1);
        let measured = measure(&model, &encoded, &windows, 2).unwrap();
        assert!(measured.iter().flatten().all(|one| one.pictures.is_none()));
        assert_eq!(Scores::of(&measured[0], 1.0).unwrap().pictures, None);
    }
}
