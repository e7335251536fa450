//! What this machine has.

use std::process::Command;

use burn::tensor::Tensor;
use serde::Serialize;

use crate::machine::{Machine, field_mib};

/// How a message about a device begins.
const FAILED: &str = "error: device ";
/// The viewer that reads what we write.
const VIEWER: &str = "0.36.3";
/// Memory below which the demo may not fit, MiB.
const ENOUGH_MIB: f64 = 3000.0;

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    machine: Machine,
    /// The processor's vector instructions that our kernels use.
    vectors: Vec<&'static str>,
    /// Memory in all and what programs may still take, MiB.
    memory_mib: Option<[f64; 2]>,
    /// Kinds of device built into this program.
    devices: Vec<&'static str>,
    /// GPUs by name, and what each is or why it cannot be used.
    gpus: Vec<(String, Result<String, String>)>,
    /// What Rerun's viewer on the path says of itself.
    viewer: Option<String>,
    /// What is missing, and what to do.
    advice: Vec<String>,
}

/// Looks around.
pub(super) fn look() -> Found {
    let memory = |key| field_mib("/proc/meminfo", key);
    let mut found = Found {
        machine: Machine::here(),
        vectors: vectors(),
        memory_mib: memory("MemTotal:")
            .zip(memory("MemAvailable:"))
            .map(|(all, free)| [all, free]),
        devices: armilla_nn::device::built_in(),
        gpus: armilla_nn::device::gpus()
            .into_iter()
            .map(|name| (name.clone(), ask(&name)))
            .collect(),
        viewer: viewer(),
        advice: Vec::new(),
    };
    found.advice = found.advise();
    found
}

impl Found {
    /// One line a fact, then what to do.
    pub(super) fn lines(&self) -> Vec<String> {
        let Machine {
            platform,
            processor,
            threads,
        } = &self.machine;
        let list = |names: &[&str]| match names {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        let memory = self.memory_mib.map_or_else(
            || "unknown".to_owned(),
            |[all, free]| format!("{all:.0} MiB, {free:.0} free"),
        );
        let mut lines = vec![
            format!("system     {platform}, {threads} threads"),
            format!("processor  {processor}; vectors: {}", list(&self.vectors)),
            format!("memory     {memory}"),
            format!("built in   {}", list(&self.devices)),
        ];
        for (name, gpu) in &self.gpus {
            let (Ok(what) | Err(what)) = gpu;
            lines.push(format!("{name:<10} {what}"));
        }
        let viewer = self.viewer.as_deref().unwrap_or("not found");
        lines.push(format!("viewer     {viewer}"));
        lines.extend(
            self.advice
                .iter()
                .map(|advice| format!("to do      {advice}")),
        );
        lines
    }

    fn advise(&self) -> Vec<String> {
        let mut advice = Vec::new();
        let mut say = |needed: bool, what: String| {
            if needed {
                advice.push(what);
            }
        };
        let slow = !self.vectors.contains(&"avx2") && std::env::consts::ARCH == "x86_64";
        say(
            slow,
            "training needs a processor with AVX2 to be fast".to_owned(),
        );
        let tight = self.memory_mib.is_some_and(|[_, free]| free < ENOUGH_MIB);
        say(
            tight,
            format!("the demo needs some {ENOUGH_MIB:.0} MiB of free memory: close something"),
        );
        let no_gpu = self.devices.len() == 1;
        say(
            no_gpu,
            "to compute on a GPU, build with `--features cuda` or `--features vulkan`".to_owned(),
        );
        let unseen = !no_gpu && self.gpus.is_empty();
        say(
            unseen,
            "no GPU is seen: `nvidia-smi` or `vulkaninfo` must show it here".to_owned(),
        );
        let other = self
            .viewer
            .as_ref()
            .is_none_or(|viewer| !viewer.contains(VIEWER));
        say(
            other,
            format!("to look at recordings: `pip install rerun-sdk=={VIEWER}`"),
        );
        advice
    }
}

fn vectors() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let known = [
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let known: [(&str, bool); 0] = [];
    let has = known.into_iter().filter(|(_, has)| *has);
    has.map(|(name, _)| name).collect()
}

/// What a GPU is, asked in a process of its own, because a broken driver may end it; why it cannot be used, otherwise.
fn ask(name: &str) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args(["doctor", "--probe", "--device", name])
        .output()
        .map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let errors = text(&output.stderr);
    let error = errors.lines().find_map(|line| line.strip_prefix(FAILED));
    let ended = || {
        format!(
            "its driver ended the program ({}): update it",
            output.status
        )
    };
    Err(error.map_or_else(ended, |error| format!("device {error}")))
}

/// Opens a device and multiplies on it; says what it is.
pub(super) fn probe(name: &str) -> anyhow::Result<String> {
    let device = armilla_nn::device::parse(name)?;
    let ones = Tensor::<2>::ones([16, 16], &device);
    let sum = ones.clone().matmul(ones).sum().into_scalar::<f32>();
    anyhow::ensure!(
        sum == 4096.0,
        "device `{name}` multiplies wrongly: expected 4096, found {sum}; update its driver"
    );
    Ok(armilla_nn::device::describe(&device))
}

/// What the viewer on the path says of its version.
fn viewer() -> Option<String> {
    let output = Command::new("rerun").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().next()?.trim().to_owned())
}
