//! What the report says of the machine and the program.

use armilla_nn::device::is_cpu;
use burn::tensor::Device;
use serde::Serialize;

/// The machine a result was made on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Operating system and processor architecture.
    pub platform: String,
    /// The processor's name, where the system tells it.
    pub processor: String,
    /// Threads that may run at once.
    pub threads: usize,
}

impl Machine {
    /// Reads it off.
    pub(crate) fn here() -> Self {
        let processor = std::fs::read_to_string("/proc/cpuinfo")
            .ok()
            .and_then(|text| {
                let line = text.lines().find(|line| line.starts_with("model name"))?;
                Some(line.split(':').nth(1)?.trim().to_owned())
            });
        Self {
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processor: processor.unwrap_or_else(|| "unknown".to_owned()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The most memory held so far, MiB, where it can be told: by this process for the CPU, by its pools on a GPU, which grow only.
pub(crate) fn peak_memory_mib(device: &Device) -> Option<f64> {
    match is_cpu(device) {
        true => status_mib("VmHWM:"),
        false => pools_mib(device),
    }
}

/// The memory held now, MiB, likewise.
pub(crate) fn memory_mib(device: &Device) -> Option<f64> {
    match is_cpu(device) {
        true => status_mib("VmRSS:"),
        false => pools_mib(device),
    }
}

/// All that a GPU's pools have reserved.
fn pools_mib(device: &Device) -> Option<f64> {
    let usage = device.memory_pool_usage()?;
    Some(usage.bytes_reserved as f64 / f64::from(1 << 20))
}

/// Seconds for which processors have worked on this process; zero where it cannot be told.
pub(crate) fn cpu_secs() -> f64 {
    /// The system counts in hundredths of a second there, whatever its clock.
    const TICKS: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name may hold anything; after it, `utime` and `stime` are the twelfth and the thirteenth.
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(11).take(2);
    let ticks = fields.filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS
}

fn status_mib(key: &str) -> Option<f64> {
    field_mib("/proc/self/status", key)
}

/// A line `KEY N kB` of a file of the system.
pub(crate) fn field_mib(file: &str, key: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// Version of this program and of the file formats it writes, by name.
pub(crate) fn versions() -> std::collections::BTreeMap<String, String> {
    [
        ("armilla", env!("CARGO_PKG_VERSION")),
        ("lerobot_dataset", "v3.0"),
        ("burn", "0.22"),
        ("rerun", "0.36.3"),
    ]
    .map(|(name, version)| (name.to_owned(), version.to_owned()))
    .into()
}
