//! `armilla world import`: a LeWorldModel as published becomes a checkpoint that every command here takes.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use armilla_core::features::ACTION;
use armilla_data::Dataset;
use armilla_world::{ActionScale, Interface, Jepa, Model, StateScale, WorldModel};
use burn::module::Module as _;
use burn::tensor::Device;
use clap::Args;

use crate::hub::{self, HubType};
use crate::progress::say;

/// Arguments of `world import`.
#[derive(Args, Debug)]
pub(crate) struct ImportArguments {
    /// Folder with `config.json` and `weights.pt` or safetensors, as stable-worldmodel writes it, or OWNER/NAME on the hub.
    pub checkpoint: PathBuf,
    /// What it was trained on: the published files say neither the actions' units nor the camera. A folder, or OWNER/NAME on the hub.
    #[arg(long)]
    pub dataset: PathBuf,
    /// Its camera; the dataset's first unless given.
    #[arg(long)]
    pub camera: Option<String>,
    /// New folder for the checkpoint.
    #[arg(long)]
    pub out: PathBuf,
}

/// Runs `armilla world import`.
pub(super) fn run(arguments: &ImportArguments) -> Result<()> {
    let out = arguments.out.display();
    ensure!(
        !arguments.out.exists(),
        "{out}: something is there already; give a new folder"
    );
    let folder = hub::folder(HubType::Dataset, &arguments.dataset)?;
    let interface = interface(&Dataset::open(&folder)?, arguments.camera.as_deref())?;
    let published = hub::folder(HubType::Model, &arguments.checkpoint)?;
    let published =
        Jepa::load_published(&published, interface.actions.mean.len(), &Device::flex())?;
    if !published.unknown.is_empty() {
        let unknown = published.unknown.join(", ");
        say(&format!(
            "config.json: not understood and left aside: {unknown}"
        ));
    }
    let model = WorldModel::new(&Model::Jepa(published.jepa), interface)?;
    std::fs::create_dir_all(&arguments.out).with_context(|| format!("cannot create {out}"))?;
    model.save(&arguments.out)?;
    let shape = model.shape();
    say(&format!(
        "{out}: {} parameters, pictures of {} px of camera `{}`, {} actions of {} values a model step",
        model.model().num_params(),
        shape.image_size,
        model.interface().cameras[0],
        shape.action_repeat,
        shape.action
    ));
    Ok(())
}

/// What the model meets, as the dataset has it.
fn interface(dataset: &Dataset, camera: Option<&str>) -> Result<Interface> {
    let root = dataset.root().display();
    let cameras = dataset.features().cameras().map(|(name, _)| name);
    let cameras: Vec<_> = cameras.collect();
    let found = match camera {
        Some(wanted) => cameras.iter().find(|name| **name == wanted),
        None => cameras.first(),
    };
    let camera = found.with_context(|| {
        let expected = camera.unwrap_or("any");
        format!("{root}: expected camera `{expected}`, found {cameras:?}")
    })?;
    let statistics = dataset.statistics().get(ACTION);
    let statistics = statistics.with_context(|| format!("{root}: no statistics of `{ACTION}`"))?;
    Ok(Interface {
        cameras: vec![(*camera).to_owned()],
        actions: ActionScale::from_statistics(statistics),
        states: StateScale::default(),
        rate_hz: Some(dataset.fps().into()),
    })
}
