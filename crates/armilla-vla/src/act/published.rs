//! ACT's checkpoints as LeRobot 0.6.1 writes and reads them, and those of older versions with statistics among the weights.

use std::collections::BTreeMap;
use std::path::Path;

use armilla_nn::Activation;
use armilla_nn::checkpoint::foreign::{Layout, Rule, as_theirs};
use armilla_nn::checkpoint::{self, Weights, weights, with_foreign_weights};
use armilla_nn::resnet::ResNet18;
use burn::module::Module as _;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Act, ActConfig};
use crate::error::{Error, Result};
use crate::lerobot::{FeatureKind, Features, Mode, PolicyInputs, Processors, is_legacy_statistic};

const KIND: &str = "act";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";

/// Keys of `config.json` that change nothing of what loaded weights compute; they are kept.
const KEPT: [&str; 13] = [
    "device",
    "use_amp",
    "push_to_hub",
    "repo_id",
    "private",
    "tags",
    "license",
    "pretrained_path",
    "pretrained_revision",
    "use_peft",
    "optimizer_lr",
    "optimizer_weight_decay",
    "optimizer_lr_backbone",
];

/// A policy with its processors: all of a checkpoint's directory.
#[derive(Clone, Debug)]
pub struct ActCheckpoint {
    /// The policy.
    pub model: Act,
    /// What stands before and after it.
    pub processors: Processors,
    /// Other keys of `config.json`, which do not change what the policy computes.
    pub kept: Map<String, Value>,
}

/// `config.json`. Every key that changes the result must be there: defaults differ between versions.
#[derive(Serialize, Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: String,
    n_obs_steps: usize,
    chunk_size: usize,
    n_action_steps: usize,
    input_features: Features,
    output_features: Features,
    normalization_mapping: BTreeMap<FeatureKind, Mode>,
    vision_backbone: String,
    /// Always written as null, so that LeRobot downloads nothing before it loads the weights.
    #[serde(default)]
    pretrained_backbone_weights: Option<String>,
    replace_final_stride_with_dilation: Value,
    pre_norm: bool,
    dim_model: usize,
    n_heads: usize,
    dim_feedforward: usize,
    feedforward_activation: String,
    n_encoder_layers: usize,
    n_decoder_layers: usize,
    use_vae: bool,
    latent_dim: usize,
    n_vae_encoder_layers: usize,
    temporal_ensemble_coeff: Option<f64>,
    dropout: f64,
    kl_weight: f64,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl ActCheckpoint {
    /// Reads a directory.
    ///
    /// # Errors
    ///
    /// [`Error`] when a file is missing or foreign, a key is unknown or of a value that is not supported, or the weights are not those of
    /// the settings: each tensor that is missing, extra or misshapen is listed under LeRobot's name.
    pub fn load(directory: &Path, device: &Device) -> Result<Self> {
        let path = directory.join(CONFIG);
        let json = std::fs::read_to_string(&path).map_err(|error| Error::file(&path, error))?;
        let file: File = serde_json::from_str(&json)
            .map_err(|error| Error::checkpoint(&path, "(whole file)", "settings of ACT", error))?;
        let (config, inputs) = file.settings(&path)?;
        let origin = directory.join(WEIGHTS);
        let (weights, _) = checkpoint::read(&origin)?;
        let legacy = Processors::from_legacy(&inputs, &file.normalization_mapping, &weights);
        let processors = match legacy {
            Some(processors) => processors,
            None => Processors::load(directory)?,
        };
        Ok(Self {
            model: Act::from_published(&config, &inputs, (weights, &origin), device)?,
            processors,
            kept: file.rest,
        })
    }

    /// Writes a directory that LeRobot loads: its settings, weights and processors.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory).map_err(|error| Error::file(directory, error))?;
        let path = directory.join(CONFIG);
        let json = serde_json::to_string_pretty(&self.file())
            .map_err(|error| Error::checkpoint(&path, "(whole file)", "JSON", error))?;
        checkpoint::write_atomically(&path, (json + "\n").as_bytes())?;
        self.processors.save(directory)?;
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let published = self.model.published();
        Ok(checkpoint::write(
            &directory.join(WEIGHTS),
            &published,
            &metadata,
        )?)
    }

    fn file(&self) -> File {
        let (config, inputs) = (&self.model.config, &self.model.inputs);
        File {
            kind: KIND.to_owned(),
            n_obs_steps: 1,
            chunk_size: config.action_horizon,
            n_action_steps: config.receding_horizon,
            input_features: inputs.inputs(),
            output_features: inputs.outputs(),
            normalization_mapping: self.processors.before.modes.clone(),
            vision_backbone: "resnet18".to_owned(),
            pretrained_backbone_weights: None,
            replace_final_stride_with_dilation: false.into(),
            pre_norm: config.norm_first,
            dim_model: config.width,
            n_heads: config.heads,
            dim_feedforward: config.hidden,
            feedforward_activation: match config.activation {
                Activation::Relu => "relu",
                Activation::Silu => "silu",
                Activation::Gelu => "gelu",
            }
            .to_owned(),
            n_encoder_layers: config.encoder_layers,
            n_decoder_layers: config.decoder_layers,
            use_vae: config.variational,
            latent_dim: config.style,
            n_vae_encoder_layers: config.style_layers,
            temporal_ensemble_coeff: config.ensemble,
            dropout: config.dropout,
            kl_weight: config.divergence_weight,
            rest: self.kept.clone(),
        }
    }
}

impl File {
    /// Our settings.
    fn settings(&self, path: &Path) -> Result<(ActConfig, PolicyInputs)> {
        let wrong = |key: &str, expected: &str, found: String| {
            Err(Error::checkpoint(path, key, expected, found))
        };
        let known = |key: &&String| !KEPT.contains(&key.as_str());
        let unknown: Vec<&str> = self.rest.keys().filter(known).map(String::as_str).collect();
        if let Some(key) = unknown.first() {
            let found = unknown.join(", ");
            return wrong(key, "only keys that LeRobot 0.6.1 has for ACT", found);
        }
        let dilated = &self.replace_final_stride_with_dilation;
        let (backbone, kind) = (&self.vision_backbone, &self.kind);
        for (key, expected, found) in [
            ("type", KIND, kind.clone()),
            ("n_obs_steps", "1", self.n_obs_steps.to_string()),
            ("vision_backbone", "resnet18", backbone.clone()),
        ] {
            if found != expected {
                return wrong(key, expected, found);
            }
        }
        if dilated != &Value::from(false) && dilated != &Value::from(0) {
            let key = "replace_final_stride_with_dilation";
            return wrong(key, "false", dilated.to_string());
        }
        if self.rest.get("use_peft").is_some_and(|peft| peft == true) {
            return wrong("use_peft", "false", "true".to_owned());
        }
        let activation = match self.feedforward_activation.as_str() {
            "relu" => Activation::Relu,
            "gelu" => Activation::Gelu,
            other => return wrong("feedforward_activation", "relu or gelu", other.to_owned()),
        };
        let inputs =
            PolicyInputs::from_features(&self.input_features, &self.output_features, path)?;
        let config = ActConfig {
            action_horizon: self.chunk_size,
            receding_horizon: self.n_action_steps,
            width: self.dim_model,
            heads: self.n_heads,
            hidden: self.dim_feedforward,
            activation,
            norm_first: self.pre_norm,
            encoder_layers: self.n_encoder_layers,
            decoder_layers: self.n_decoder_layers,
            variational: self.use_vae,
            style_layers: self.n_vae_encoder_layers,
            style: self.latent_dim,
            divergence_weight: self.kl_weight,
            dropout: self.dropout,
            ensemble: self.temporal_ensemble_coeff,
        };
        config.validate(&inputs)?;
        Ok((config, inputs))
    }
}

impl Act {
    /// Builds it with LeRobot's weights, and where errors say they came from.
    fn from_published(
        config: &ActConfig,
        inputs: &PolicyInputs,
        (weights, origin): (Weights, &Path),
        device: &Device,
    ) -> Result<Self> {
        let model = config.build(inputs, device);
        let ignored = is_legacy_statistic;
        let model = with_foreign_weights(model, weights, &act_rules(), &ignored, origin)?;
        Ok(model)
    }

    /// All weights under LeRobot's names and in its layouts.
    #[must_use]
    pub fn published(&self) -> Weights {
        as_theirs(&weights(&self.valid()), &act_rules())
    }
}

/// Where LeRobot's ACT has what an [`Act`] has.
#[must_use]
pub fn act_rules() -> Vec<Rule> {
    let channels = ResNet18::FEATURES;
    let project = Rule::new("vision.project", "encoder_img_feat_input_proj");
    let mut rules = vec![
        project.with_layout(Layout::Convolution { channels }),
        Rule::new("state", "encoder_robot_state_input_proj"),
        Rule::new("environment_state", "encoder_env_state_input_proj"),
        Rule::new("latent", "encoder_latent_input_proj"),
        Rule::new("positions", "encoder_1d_feature_pos_embed.weight"),
        Rule::new("queries", "decoder_pos_embed.weight"),
        Rule::new("action", "action_head"),
        Rule::new("style.class", "vae_encoder_cls_embed.weight"),
        Rule::new("style.state", "vae_encoder_robot_state_input_proj"),
        Rule::new("style.action", "vae_encoder_action_input_proj"),
        Rule::new("style.positions", "vae_encoder_pos_enc"),
        Rule::new("style.output", "vae_encoder_latent_output_proj"),
    ];
    for (ours, theirs) in [
        ("encoder", "encoder"),
        ("decoder", "decoder"),
        ("style.encoder", "vae_encoder"),
    ] {
        rules.push(Rule::new(format!("{ours}.norm"), format!("{theirs}.norm")));
        // The decoder's feed-forward network is its third half.
        let last = if ours == "decoder" { "norm3" } else { "norm2" };
        let mut layer = block_rules();
        layer.push(Rule::new("feed_forward_norm", last));
        rules.extend(
            layer
                .into_iter()
                .map(|rule| rule.under(&format!("{ours}.blocks.*"), &format!("{theirs}.layers.*"))),
        );
    }
    let backbone = resnet_rules().into_iter();
    rules.extend(backbone.map(|rule| rule.under("vision.backbone", "backbone")));
    let model = rules.into_iter().map(|rule| Rule {
        theirs: format!("model.{}", rule.theirs),
        ..rule
    });
    model.collect()
}

/// Of one layer, but for its last normalisation.
fn block_rules() -> Vec<Rule> {
    let mut rules = vec![
        Rule::new("attention_norm", "norm1"),
        Rule::new("cross.norm", "norm2"),
        Rule::new("feed_forward.linears.0", "linear1"),
        Rule::new("feed_forward.linears.1", "linear2"),
    ];
    for (ours, theirs) in [
        ("attention", "self_attn"),
        ("cross.attention", "multihead_attn"),
    ] {
        let output = format!("{theirs}.out_proj");
        rules.push(Rule::new(format!("{ours}.output"), output));
        for (index, part) in ["query", "key", "value"].into_iter().enumerate() {
            rules.extend(["weight", "bias"].map(|kind| {
                let (ours, theirs) = (
                    format!("{ours}.{part}.{kind}"),
                    format!("{theirs}.in_proj_{kind}"),
                );
                Rule::new(ours, theirs).with_layout(Layout::Part { index, of: 3 })
            }));
        }
    }
    rules
}

/// torchvision's names of a ResNet-18.
fn resnet_rules() -> Vec<Rule> {
    let normed = |ours: String, conv: String, norm: String, channels: usize| {
        let kernel = Layout::Convolution { channels };
        [
            Rule::new(format!("{ours}.conv.kernel"), conv).with_layout(kernel),
            Rule::new(format!("{ours}.norm"), norm),
        ]
    };
    let stem = normed("stem".to_owned(), "conv1".to_owned(), "bn1".to_owned(), 3);
    let mut rules = stem.to_vec();
    for block in 0..8 {
        let (stage, within) = (block / 2, block % 2);
        let output = 64 << stage;
        let input = if within == 0 && stage > 0 {
            output / 2
        } else {
            output
        };
        let (ours, theirs) = (
            format!("blocks.{block}"),
            format!("layer{}.{within}", stage + 1),
        );
        for (part, conv, norm, channels) in [
            ("first", "conv1", "bn1", input),
            ("second", "conv2", "bn2", output),
            ("shortcut", "downsample.0", "downsample.1", input),
        ] {
            let (conv, norm) = (format!("{theirs}.{conv}"), format!("{theirs}.{norm}"));
            rules.extend(normed(format!("{ours}.{part}"), conv, norm, channels));
        }
    }
    rules
}

#[cfg(test)]
mod tests;
