#!/usr/bin/env bash
# Builds `armilla` for NVIDIA's GPUs where LLVM cannot be downloaded: `scripts/build_cuda.sh [check|build|run] [cargo's options]`.
#
# burn-cuda compiles kernels by LLVM, which the build of `cubecl-llvm` downloads. Here a stand-in takes that crate's place and CUDA's own
# compiler (NVRTC) compiles the kernels at run time. So the program needs NVIDIA's driver, libnvrtc and CUDA's headers where it runs, at
# CUDA_PATH or /usr/local/cuda. Where the download works, `cargo build --release --features cuda` does without all this.
set -euo pipefail
cd "$(dirname "$0")/.."

# The stand-in would go into Cargo.lock, which stays as it is for everybody else.
lock="$(mktemp)"
cp Cargo.lock "$lock"
trap 'cp "$lock" Cargo.lock; rm -f "$lock"' EXIT

what="${1:-build}"
cargo "$what" --release --features cuda-nvrtc --config 'patch.crates-io.cubecl-llvm.path = "scripts/cuda/cubecl-llvm"' "${@:2}"
