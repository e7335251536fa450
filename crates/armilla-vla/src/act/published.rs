//! ACT's `config.json` and weights as LeRobot 0.6.1 writes and reads them.

use std::collections::BTreeMap;
use std::path::Path;

use armilla_nn::Activation;
use armilla_nn::checkpoint::foreign::{Layout, Rule};
use armilla_nn::resnet::{ResNet18, ResNetNames, ResNetNorm, resnet_rules};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Act, ActConfig};
use crate::error::{Error, Result};
use crate::lerobot::{
    FeatureKind, Features, Mode, PolicyInputs, PolicyModel as _, Settings, check_kept, nullable,
};

/// Keys of ACT's `config.json` alone that change nothing of what loaded weights compute.
const KEPT: [&str; 1] = ["optimizer_lr_backbone"];

/// `config.json`. Every key that changes the result must be there: defaults differ between versions.
#[derive(Serialize, Deserialize)]
struct Published {
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
    #[serde(deserialize_with = "nullable")]
    temporal_ensemble_coeff: Option<f64>,
    dropout: f64,
    kl_weight: f64,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Reads `config.json`.
pub(super) fn read_settings(text: &str, path: &Path) -> Result<Settings<ActConfig>> {
    let file: Published = serde_json::from_str(text)
        .map_err(|error| Error::checkpoint(path, "(whole file)", "settings of ACT", error))?;
    file.settings(path)
}

/// Gives `config.json`.
pub(super) fn written_settings(settings: &Settings<ActConfig>) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&Published::new(settings))
}

impl Published {
    fn new(settings: &Settings<ActConfig>) -> Self {
        let (config, inputs) = (&settings.config, &settings.inputs);
        Self {
            kind: Act::KIND.to_owned(),
            n_obs_steps: 1,
            chunk_size: config.action_horizon,
            n_action_steps: config.receding_horizon,
            input_features: inputs.inputs(),
            output_features: inputs.outputs(),
            normalization_mapping: settings.modes.clone(),
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
                Activation::Mish => "mish",
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
            rest: settings.kept.clone(),
        }
    }

    /// Our settings.
    fn settings(self, path: &Path) -> Result<Settings<ActConfig>> {
        let wrong = |key: &str, expected: &str, found: String| {
            Err(Error::checkpoint(path, key, expected, found))
        };
        check_kept(&self.rest, &KEPT, "ACT", path)?;
        let dilated = &self.replace_final_stride_with_dilation;
        let (backbone, kind) = (&self.vision_backbone, &self.kind);
        for (key, expected, found) in [
            ("type", Act::KIND, kind.clone()),
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
        Ok(Settings {
            config,
            inputs,
            modes: self.normalization_mapping,
            kept: self.rest,
        })
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
    let backbone = resnet_rules(ResNetNorm::Frozen, ResNetNames::Torchvision);
    let backbone = backbone.into_iter();
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

#[cfg(test)]
mod tests;
