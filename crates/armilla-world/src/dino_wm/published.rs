//! DINO-WM's checkpoints as stable-worldmodel 0.1.1 writes them (`PreJEPA`), and DINOv2's own weights.

use std::path::Path;

use armilla_nn::checkpoint::foreign::{Layout, Rule};
use armilla_nn::checkpoint::{Weights, read, read_pytorch, with_foreign_weights};
use armilla_nn::vit::dinov2_rules;
use burn::tensor::{Device, TensorData};

use super::DinoWm;
use super::config::DinoWmConfig;
use crate::encoder::{Encoder, EncoderConfig};
use crate::error::{Result, ensure};

/// Path of our module in an [`Encoder`] that is a vision transformer.
const TRANSFORMER: &str = "VisionTransformer";
/// What DINOv2 has for its own training, which nothing here reads.
const MASK_TOKEN: &str = "mask_token";

impl DinoWm {
    /// Reads a published model of a configuration without a decoder.
    ///
    /// # Errors
    ///
    /// [`Error`](crate::Error) when a setting is out of range, the file is missing or foreign, or the weights are not those of the configuration:
    /// every tensor that is missing, extra or misshapen is named as the file names it.
    pub fn load_published(config: &DinoWmConfig, path: &Path, device: &Device) -> Result<Self> {
        config.validate()?;
        let mut weights = read_any(path)?;
        resize(
            &mut weights,
            "backbone.embeddings.position_embeddings",
            config,
        )?;
        let model = config.init_to_load(device)?;
        // The mask lies there as zeros and ones.
        let is_mask = |name: &str| {
            let last: Vec<_> = name.rsplit('.').take(4).collect();
            matches!(last[..], ["bias", "0", _, "layers"])
        };
        let is_ignored = |name: &str| name.ends_with(MASK_TOKEN) || is_mask(name);
        let rules = dino_wm_rules();
        Ok(with_foreign_weights(
            model,
            weights,
            &rules,
            &is_ignored,
            path,
        )?)
    }
}

impl Encoder {
    /// Reads DINOv2's weights as Hugging Face's `Dinov2Model` saves them, the table of positions resized to the picture.
    ///
    /// # Errors
    ///
    /// [`Error`](crate::Error) when a setting is out of range, the file is missing or foreign, or the weights are not those of the configuration.
    pub fn load_dinov2(config: &DinoWmConfig, path: &Path, device: &Device) -> Result<Self> {
        config.validate()?;
        let mut weights = read_any(path)?;
        resize(&mut weights, "embeddings.position_embeddings", config)?;
        let activation = armilla_nn::Activation::Gelu;
        let encoder = Self::new(&config.encoder, config.image_size, activation, device);
        let rules = dinov2_rules().into_iter();
        let rules: Vec<_> = rules
            .map(|rule| Rule {
                ours: format!("{TRANSFORMER}.{}", rule.ours),
                ..rule
            })
            .collect();
        let is_ignored = |name: &str| name.ends_with(MASK_TOKEN);
        Ok(with_foreign_weights(
            encoder,
            weights,
            &rules,
            &is_ignored,
            path,
        )?)
    }
}

fn read_any(path: &Path) -> Result<Weights> {
    let safetensors = path.extension().is_some_and(|kind| kind == "safetensors");
    let weights = match safetensors {
        true => read(path)?.0,
        false => read_pytorch(path)?,
    };
    Ok(weights
        .into_iter()
        .map(|(name, data)| (canonical(name), data))
        .collect())
}

/// Names as transformers 4 gives them; transformers 5 has others for attention.
fn canonical(name: String) -> String {
    const RENAMED: [(&str, &str); 4] = [
        (".attention.q_proj.", ".attention.attention.query."),
        (".attention.k_proj.", ".attention.attention.key."),
        (".attention.v_proj.", ".attention.attention.value."),
        (".attention.o_proj.", ".attention.output.dense."),
    ];
    let renamed = RENAMED.iter().find(|(new, _)| name.contains(new));
    match renamed {
        Some((new, old)) => name.replace(new, old),
        None => name,
    }
}

/// Where a published DINO-WM has what a [`DinoWm`] without a decoder has.
#[must_use]
pub fn dino_wm_rules() -> Vec<Rule> {
    let block = |ours: &str, theirs: &str| {
        Rule::new(
            format!("blocks.*.{ours}"),
            format!("predictor.transformer.layers.*.{theirs}"),
        )
    };
    let part = |name: &str, index: usize| {
        block(&format!("attention.{name}"), "0.to_qkv").with_layout(Layout::Part { index, of: 3 })
    };
    let encoder = format!("encoder.{TRANSFORMER}");
    let mut rules: Vec<_> = dinov2_rules()
        .into_iter()
        .map(|rule| rule.under(&encoder, "backbone"))
        .collect();
    rules.extend([
        Rule::new("state", "extra_encoders.proprio.patch_embed"),
        Rule::new("action", "extra_encoders.action.patch_embed"),
        Rule::new("positions", "predictor.pos_embedding"),
        block("attention_norm", "0.norm"),
        part("query", 0),
        part("key", 1),
        part("value", 2),
        block("attention.output", "0.to_out.0"),
        block("feed_forward_norm", "1.net.0"),
        block("feed_forward.linears.0", "1.net.1"),
        block("feed_forward.linears.1", "1.net.4"),
        Rule::new("norm", "predictor.transformer.norm"),
    ]);
    rules
}

/// Brings the table of positions to the picture of the configuration, as transformers does at every use.
fn resize(weights: &mut Weights, name: &str, config: &DinoWmConfig) -> Result<()> {
    let (Some(table), EncoderConfig::VisionTransformer(vit)) = (weights.get(name), &config.encoder)
    else {
        return Ok(()); // Its absence is told with all others.
    };
    let places = table.num_elements() / vit.width.max(1);
    let from = (places.saturating_sub(1) as f64).sqrt().round() as usize;
    let whole = from > 0 && (from * from + 1) * vit.width == table.num_elements();
    let expected = format!("a class and a square of places of {} values", vit.width);
    let found = format!("{:?}", table.shape().to_vec());
    ensure(whole, name, expected, found)?;
    let to = config.encoder.grid(config.image_size);
    if from != to {
        let resized = resized(
            &table.iter::<f32>().collect::<Vec<_>>(),
            [from, to],
            vit.width,
        );
        let shape = [1, to * to + 1, vit.width];
        weights.insert(name.to_owned(), TensorData::new(resized, shape));
    }
    Ok(())
}

/// A table of a class and `from * from` places as one of `to * to`: bicubic without antialiasing, as PyTorch's with `align_corners` off.
fn resized(table: &[f32], [from, to]: [usize; 2], width: usize) -> Vec<f32> {
    let taps: Vec<_> = (0..to).map(|place| cubic_taps(place, [from, to])).collect();
    let (class, grid) = table.split_at(width);
    let mut resized = class.to_vec();
    for (rows, columns) in taps
        .iter()
        .flat_map(|rows| taps.iter().map(move |columns| (rows, columns)))
    {
        let mut place = vec![0.0_f64; width];
        let sources = rows
            .iter()
            .flat_map(|row| columns.iter().map(move |column| (row, column)));
        for ((row, by_row), (column, by_column)) in sources {
            let values = &grid[(row * from + column) * width..][..width];
            for (sum, value) in place.iter_mut().zip(values) {
                *sum += by_row * by_column * f64::from(*value);
            }
        }
        resized.extend(place.into_iter().map(|value| value as f32));
    }
    resized
}

/// The four places that one of `to` lies between, and their weights; edges repeat.
fn cubic_taps(place: usize, [from, to]: [usize; 2]) -> [(usize, f64); 4] {
    /// PyTorch's slope at the neighbours.
    const SLOPE: f64 = -0.75;
    let center = (place as f64 + 0.5) * from as f64 / to as f64 - 0.5;
    let first = center.floor();
    let weight = |distance: f64| {
        let (x, a) = (distance.abs(), SLOPE);
        match x <= 1.0 {
            true => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            false => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        }
    };
    [-1.0, 0.0, 1.0, 2.0].map(|step| {
        let at = (first + step).clamp(0.0, (from - 1) as f64) as usize;
        (at, weight(center - (first + step)))
    })
}

#[cfg(test)]
mod tests;
