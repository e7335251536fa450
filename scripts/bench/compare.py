#!/usr/bin/env python3
"""Measures `armilla bench` and the same work in PyTorch in turns, each in a process of its own, and prints the ratios.

    python scripts/bench/compare.py [NAME...] [--seconds 3] [--rounds 3] [--device cuda:0 --dtype bf16 --compile]

Needs torch, for the policies LeRobot 0.6.1 (`pip install "lerobot[diffusion]==0.6.1"`), and the program built: `cargo build --release`, for a GPU with `--features cuda` or by `scripts/build_cuda.sh`.
`--compile` is PyTorch's.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

import torch_models

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OURS = ROOT / "target" / "release" / "armilla"


def run(command):
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout)["results"][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N")
    parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    print("| work | Armilla, ms | PyTorch, ms | ratio | memory, MiB | PyTorch's | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in arguments.names or torch_models.WORK:
        both = ["--seconds", str(arguments.seconds), "--device", arguments.device]
        own = ["--precision", arguments.dtype]
        peers = ["--dtype", arguments.dtype] + ["--compile"] * arguments.compile
        rounds = []
        for _ in range(arguments.rounds):
            ours = run([OURS, "bench", name, "--json", *both, *own])
            script = str(pathlib.Path(__file__).with_name("torch_models.py"))
            theirs = run([sys.executable, script, name, *both, *peers])
            rounds.append((ours, theirs))

        def median(side, key):
            return statistics.median(found[side][key] for found in rounds)

        ours, theirs = median(0, "median_ms"), median(1, "median_ms")
        ratio = statistics.median(a["median_ms"] / b["median_ms"] for a, b in rounds)
        memory, their_memory = median(0, "peak_memory_mib"), median(1, "peak_memory_mib")
        print(
            f"| `{name}` | {ours:.2f} | {theirs:.2f} | **{ratio:.2f}** "
            f"| {memory:.0f} | {their_memory:.0f} | {memory / their_memory:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
