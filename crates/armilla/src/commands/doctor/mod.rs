//! `armilla doctor`: what this machine has, what is missing and what to do; and whether a device computes right.

mod layers;
mod machine;
mod training;

use anyhow::{Result, bail};
use armilla_nn::Precision;
use burn::tensor::Device;
use serde::Serialize;

use crate::cli::DoctorArguments;
use crate::progress::{print, say};

/// What one check of the self-test found.
#[derive(Debug, Serialize)]
struct Check {
    /// What was checked.
    name: String,
    /// In which precision.
    precision: Precision,
    /// What was measured, in words, where it is not an error relative to the largest value.
    measured: &'static str,
    /// The figure: the largest error unless `measured` says otherwise.
    found: f64,
    /// The most that it may be.
    limit: f64,
}

impl Check {
    /// Anything but a number within the limit has failed.
    fn passed(&self) -> bool {
        self.found <= self.limit
    }

    fn line(&self) -> String {
        let verdict = if self.passed() { "ok  " } else { "FAIL" };
        let precision = match self.precision {
            Precision::F32 => "f32 ",
            Precision::Bf16 => "bf16",
        };
        format!(
            "{verdict} {precision} {:<52} {} {:.2e} (at most {})",
            self.name, self.measured, self.found, self.limit
        )
    }
}

/// Runs `armilla doctor`.
pub(crate) fn run(arguments: &DoctorArguments) -> Result<()> {
    if arguments.probe {
        return Ok(print(&machine::probe(&arguments.device)?)?);
    }
    if !arguments.self_test {
        // Nothing is computed, but a device that is none is not passed over.
        armilla_nn::device::parse(&arguments.device)?;
    }
    let found = machine::look();
    if !arguments.json {
        found.lines().iter().try_for_each(|line| print(line))?;
    }
    let checks = match arguments.self_test {
        true => self_test(arguments)?,
        false => Vec::new(),
    };
    if arguments.json {
        let report = serde_json::json!({ "machine": found, "checks": checks });
        print(&report.to_string())?;
    }
    let failed = checks.iter().filter(|check| !check.passed()).count();
    if failed > 0 {
        let mend = match arguments.device.as_str() {
            "cpu" => "please report it with what this printed",
            _ => "update its driver, or use `--device cpu`",
        };
        bail!(
            "{failed} of {} checks failed on {}: expected none; {mend}",
            checks.len(),
            arguments.device
        );
    }
    Ok(())
}

/// Every check in every precision that the device has, each told as soon as it is done.
fn self_test(arguments: &DoctorArguments) -> Result<Vec<Check>> {
    let device = armilla_nn::device::parse(&arguments.device)?;
    let mut checks = Vec::new();
    let mut tell = |check: Check| {
        if !arguments.json {
            print(&check.line())?;
        }
        checks.push(check);
        Ok(())
    };
    tell(training::adamw(&device))?;
    for precision in [Precision::F32, Precision::Bf16] {
        if precision.runs_on(&device) {
            layers::check(&device, precision, &mut tell)?;
            training::learn(&device, precision, &mut tell)?;
        }
    }
    match training::memory(&device, arguments.steps)? {
        Some(check) => tell(check)?,
        None => say("memory over training steps: not checked, as this system does not tell it"),
    }
    Ok(checks)
}

/// Takes a check that is done.
type Tell<'a> = dyn FnMut(Check) -> Result<()> + 'a;

/// The largest difference of two rows of numbers over the largest of those expected, or over a floor where that is more.
fn largest_error(found: &[f64], expected: &[f64], floor: f64) -> f64 {
    let apart = found.iter().zip(expected).map(|(a, b)| a - b);
    match found.len() == expected.len() {
        true => largest_of(apart) / largest(expected).max(floor).max(f64::MIN_POSITIVE),
        false => f64::NAN,
    }
}

/// The largest magnitude.
fn largest(row: &[f64]) -> f64 {
    largest_of(row.iter().copied())
}

/// The largest magnitude; not a number if one is not.
fn largest_of(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |largest: f64, value| match value.is_nan() {
        true => value,
        false if largest.is_nan() => largest,
        false => largest.max(value.abs()),
    })
}

/// The device with autodiff.
fn training_device(device: &Device) -> Device {
    device.clone().autodiff()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_fails() {
        let check = |found| Check {
            name: "a".to_owned(),
            precision: Precision::F32,
            measured: "error",
            found,
            limit: 1e-4,
        };
        assert!(check(largest_error(&[2.0, -4.0002], &[2.0, -4.0], 0.0)).passed());
        assert!(!check(largest_error(&[2.0, -4.1], &[2.0, -4.0], 0.0)).passed());
        assert!(check(largest_error(&[2.0, -4.1], &[2.0, -4.0], 2e3)).passed());
        assert!(!check(largest_error(&[f64::NAN, 1.0], &[1.0, 1.0], 0.0)).passed());
        assert!(!check(largest_error(&[1.0], &[1.0, 1.0], 0.0)).passed());
    }
}
