//! LeWorldModel's checkpoints as stable-worldmodel 0.1.1 writes and publishes them: `config.json` and `weights.pt`, or the same arrays as
//! safetensors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use armilla_nn::checkpoint::foreign::{Layout, Rule};
use armilla_nn::checkpoint::{Weights, read, read_pytorch, with_foreign_weights};
use armilla_nn::vit::vit_rules;
use burn::tensor::Device;
use serde::Deserialize;
use serde_json::Value;

use super::config::{JepaConfig, PredictorConfig, TransformerConfig};
use crate::encoder::{EncoderConfig, VitConfig};
use crate::error::{Error, Result, ensure};
use crate::jepa::Jepa;

const CONFIG: &str = "config.json";
/// Folders of our modules within a [`Jepa`] of LeWorldModel's shape.
const ENCODER: &str = "encoder.VisionTransformer";
const PREDICTOR: &str = "predictor.Transformer";

/// A published model, and what of its settings was not understood.
#[derive(Debug)]
pub struct Published {
    /// The model.
    pub jepa: Jepa,
    /// Keys of `config.json` that nothing here knows.
    pub unknown: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    encoder: EncoderFile,
    predictor: PredictorFile,
    action_encoder: ActionFile,
    projector: ProjectorFile,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct EncoderFile {
    size: Option<String>,
    patch_size: usize,
    image_size: usize,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct PredictorFile {
    num_frames: usize,
    hidden_dim: usize,
    depth: usize,
    heads: usize,
    mlp_dim: usize,
    #[serde(default = "head_width")]
    dim_head: usize,
    #[serde(default)]
    dropout: f64,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct ActionFile {
    input_dim: usize,
    emb_dim: usize,
    smoothed_dim: Option<usize>,
    mlp_scale: Option<usize>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct ProjectorFile {
    hidden_dim: usize,
    output_dim: usize,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Upstream's default.
fn head_width() -> usize {
    64
}

/// Keys that say what [`JepaConfig`] has no setting for because it does not change: the pictures' and the networks' kinds.
const KNOWN: [&str; 11] = [
    "_target_",
    "pretrained",
    "use_mask_token",
    "input_dim",
    "output_dim",
    "emb_dropout",
    "norm_fn",
    "pred_proj",
    "embed_dim",
    "history_size",
    "num_preds",
];

impl Jepa {
    /// Reads a published LeWorldModel whose action blocks are of actions of so many values.
    ///
    /// # Errors
    ///
    /// [`Error`] when a file is missing or foreign, or the weights are not those of the settings: every tensor that is missing, extra or
    /// misshapen is named as the file names it.
    pub fn load_published(directory: &Path, action: usize, device: &Device) -> Result<Published> {
        let path = directory.join(CONFIG);
        let failed = |context| {
            let path = path.clone();
            move |source| Error::File {
                context,
                path,
                source,
            }
        };
        let absent = failed("cannot read the settings of a published LeWorldModel");
        let json = std::fs::read_to_string(&path).map_err(|error| absent(error.into()))?;
        let wrong = failed("these are not the settings of a LeWorldModel as published");
        let file: File = serde_json::from_str(&json).map_err(|error| wrong(error.into()))?;
        let (config, unknown) = (file.config(action)?, file.unknown());
        let path = weights_file(directory)?;
        let weights = match path.extension().is_some_and(|kind| kind == "safetensors") {
            true => read(&path)?.0,
            false => read_pytorch(&path)?,
        };
        let jepa = with_foreign_weights(
            config.init_to_load(device)?,
            canonical(weights),
            &lewm_rules(),
            &|name| name.ends_with("num_batches_tracked"),
            &path,
        )?;
        Ok(Published { jepa, unknown })
    }
}

impl File {
    fn config(&self, action: usize) -> Result<JepaConfig> {
        let (encoder, predictor) = (&self.encoder, &self.predictor);
        let size = encoder.size.as_deref().unwrap_or("tiny");
        let [width, layers, heads] = vit_size(size)?;
        let width = encoder.hidden_size.unwrap_or(width);
        let (block, latent) = (self.action_encoder.input_dim, self.projector.output_dim);
        let whole = action > 0 && block.is_multiple_of(action);
        let expected = format!("a multiple of {action}, the values of an action");
        ensure(whole, "action_encoder.input_dim", expected, block)?;
        for (key, found) in [
            ("predictor.hidden_dim", predictor.hidden_dim),
            ("action_encoder.emb_dim", self.action_encoder.emb_dim),
        ] {
            let expected = format!("{latent} as projector.output_dim");
            ensure(found == latent, key, expected, found)?;
        }
        let mlp = self.action_encoder.mlp_scale.unwrap_or(4);
        Ok(JepaConfig {
            image_size: encoder.image_size,
            encoder: EncoderConfig::VisionTransformer(VitConfig {
                patch: encoder.patch_size,
                width,
                layers: encoder.num_hidden_layers.unwrap_or(layers),
                heads: encoder.num_attention_heads.unwrap_or(heads),
                hidden: encoder.intermediate_size.unwrap_or(4 * width),
                ..VitConfig::default()
            }),
            projector_hidden: self.projector.hidden_dim,
            latent,
            history: predictor.num_frames,
            action,
            action_repeat: block / action,
            predictor: PredictorConfig::Transformer(TransformerConfig {
                action_embedding: self.action_encoder.smoothed_dim.unwrap_or(10),
                action_hidden: mlp.saturating_mul(latent),
                depth: predictor.depth,
                heads: predictor.heads,
                head_width: predictor.dim_head,
                hidden: predictor.mlp_dim,
                dropout: predictor.dropout,
            }),
            ..JepaConfig::lewm()
        })
    }

    /// Keys that nothing here knows.
    fn unknown(&self) -> Vec<String> {
        let parts = [
            ("", &self.rest),
            ("encoder.", &self.encoder.rest),
            ("predictor.", &self.predictor.rest),
            ("action_encoder.", &self.action_encoder.rest),
            ("projector.", &self.projector.rest),
        ];
        let keys = parts.into_iter().flat_map(|(part, rest)| {
            let unknown = rest.keys().filter(|key| !KNOWN.contains(&key.as_str()));
            unknown.map(move |key| format!("{part}{key}"))
        });
        keys.collect()
    }
}

/// Width, layers and heads by the names that stable-pretraining's `vit_hf` gives them.
fn vit_size(name: &str) -> Result<[usize; 3]> {
    Ok(match name {
        "tiny" => [192, 12, 3],
        "small" => [384, 12, 6],
        "base" => [768, 12, 12],
        "large" => [1024, 24, 16],
        "huge" => [1280, 32, 16],
        other => {
            let expected = "tiny, small, base, large or huge";
            return Err(Error::invalid("encoder.size", expected, other));
        }
    })
}

/// The directory's file of weights: by its usual names, else the only one of PyTorch's.
fn weights_file(directory: &Path) -> Result<PathBuf> {
    for name in ["model.safetensors", "weights.pt"] {
        let path = directory.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    let failed = |source: std::io::Error| Error::File {
        context: "cannot read the folder of a published LeWorldModel",
        path: directory.to_path_buf(),
        source: source.into(),
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|kind| kind == "pt") {
            found.push(path);
        }
    }
    let (count, last) = (found.len(), found.pop());
    let what = format!("weights in {}", directory.display());
    let expected = "model.safetensors, weights.pt or one other .pt";
    let found = format!("{count} of these");
    let only = last.filter(|_| count == 1);
    only.ok_or_else(|| Error::invalid(what, expected, found))
}

/// Names as transformers 4 gives them, which the published files have; transformers 5 has others for the encoder's blocks.
fn canonical(weights: Weights) -> Weights {
    const RENAMED: [(&str, &str); 6] = [
        (".attention.q_proj.", ".attention.attention.query."),
        (".attention.k_proj.", ".attention.attention.key."),
        (".attention.v_proj.", ".attention.attention.value."),
        (".attention.o_proj.", ".attention.output.dense."),
        (".mlp.fc1.", ".intermediate.dense."),
        (".mlp.fc2.", ".output.dense."),
    ];
    let rename = |name: String| {
        let Some(rest) = name.strip_prefix("encoder.layers.") else {
            return name;
        };
        let name = format!("encoder.encoder.layer.{rest}");
        let renamed = RENAMED.iter().find(|(new, _)| name.contains(new));
        renamed.map_or_else(|| name.clone(), |(new, old)| name.replace(new, old))
    };
    let named = weights.into_iter();
    named.map(|(name, data)| (rename(name), data)).collect()
}

/// Where a published LeWorldModel has what a [`Jepa`] of its shape has.
#[must_use]
pub fn lewm_rules() -> Vec<Rule> {
    let block = |ours: &str, theirs: &str| {
        Rule::new(
            format!("{PREDICTOR}.blocks.*.{ours}"),
            format!("predictor.transformer.layers.*.{theirs}"),
        )
    };
    let part = |name: &str, index: usize| {
        block(&format!("attention.{name}"), "attn.to_qkv")
            .with_layout(Layout::Part { index, of: 3 })
    };
    let mut rules: Vec<_> = vit_rules()
        .into_iter()
        .map(|rule| rule.under(ENCODER, "encoder"))
        .collect();
    for (ours, theirs) in [
        ("projector".to_owned(), "projector"),
        (format!("{PREDICTOR}.projector"), "pred_proj"),
    ] {
        rules.extend([
            Rule::new(format!("{ours}.linears.0"), format!("{theirs}.net.0")),
            Rule::new(format!("{ours}.norms.0"), format!("{theirs}.net.1")),
            Rule::new(format!("{ours}.linears.1"), format!("{theirs}.net.3")),
        ]);
    }
    let action = |ours: &str, theirs: &str| {
        Rule::new(
            format!("{PREDICTOR}.action.{ours}"),
            format!("action_encoder.{theirs}"),
        )
    };
    rules.extend([
        action("embedding", "patch_embed"),
        action("network.linears.0", "embed.0"),
        action("network.linears.1", "embed.2"),
        Rule::new(format!("{PREDICTOR}.positions"), "predictor.pos_embedding"),
        block("modulation", "adaLN_modulation.1"),
        block("attention_norm", "attn.norm"),
        part("query", 0),
        part("key", 1),
        part("value", 2),
        block("attention.output", "attn.to_out.0"),
        block("feed_forward_norm", "mlp.net.0"),
        block("feed_forward.linears.0", "mlp.net.1"),
        block("feed_forward.linears.1", "mlp.net.4"),
        Rule::new(format!("{PREDICTOR}.norm"), "predictor.transformer.norm"),
    ]);
    rules
}

#[cfg(test)]
pub(crate) mod tests;
