#!/usr/bin/env python3
"""Trains variants of a model and evaluates each on the same episodes: the tables of docs/results.md.

    cargo build --release && scripts/ablation.py configs/ablation/two-room.toml OUT [--only NAME]… [--seeds 0]

What is done stays done: a run that was stopped goes on, and a table of what there is can be printed at any time. A variant is
settings that replace those of the training's configuration; success is counted over all seeds, with a 95 % Wilson interval.
"""
import argparse
import json
import shutil
import signal
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
ARMILLA = ROOT / "target/release/armilla"
# What a training or a recording ends with that was stopped before its end.
STOPPED = 130


def armilla(*arguments):
    print("+ armilla", *arguments, flush=True)
    ended = subprocess.run([ARMILLA, *map(str, arguments)]).returncode
    if ended:
        stopped = ended in (STOPPED, -signal.SIGINT)
        raise SystemExit(f"armilla {arguments[0]}: " + ("stopped" if stopped else f"failed with {ended}"))


def trained(plan, variant, seed, out):
    """The checkpoint of a variant at a seed, trained if it is not there."""
    run = out / "runs" / f"{variant.get('model', variant['name'])}-{seed}"
    model = run / "checkpoints/last/model"
    if not (run / "done").exists():
        settings = [f"train.seed={seed}", *plan.get("set", []), *variant.get("set", [])]
        settings = [word for setting in settings for word in ("--set", setting)]
        start = ["--resume", run] if run.exists() else [plan["train"], "--dataset", out / "dataset", "--out", run, *settings]
        armilla("train", *start)
        (run / "done").touch()
    return model


def evaluated(plan, variant, seed, evaluation, out):
    result = out / "results" / f"{variant['name']}-{seed}-{evaluation['name']}.json"
    if not result.exists():
        model = trained(plan, variant, seed, out)
        result.parent.mkdir(parents=True, exist_ok=True)
        part = result.with_suffix(".part")
        arguments = [*evaluation["arguments"], *variant.get("arguments", [])]
        armilla("eval", "--planner" if plan.get("planner", True) else "--policy", model, *arguments, "--json", part)
        part.rename(result)
    return json.loads(result.read_text())


def wilson(done, count, z=1.96):
    share, spread = done / count, z * (done / count * (1 - done / count) / count + z * z / (4 * count * count)) ** 0.5
    scale, middle = 1 + z * z / count, share + z * z / (2 * count)
    return share, (middle - spread) / scale, (middle + spread) / scale


def cell(rows):
    count = sum(row["episodes"] for row in rows)
    done = sum(round(row["success"] * row["episodes"]) for row in rows)
    share, low, high = (100 * value for value in wilson(done, count))
    seeds = ", ".join(f"{100 * row['success']:.0f}" for row in rows)
    return f"{share:.1f} [{low:.1f}, {high:.1f}] ({seeds})"


def table(plan, seeds, out):
    names = [evaluation["name"] for evaluation in plan["evaluations"]]
    lines = ["| variant | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for variant in plan["variants"]:
        cells = []
        for name in names:
            files = [out / "results" / f"{variant['name']}-{seed}-{name}.json" for seed in seeds]
            rows = [json.loads(file.read_text()) for file in files if file.exists()]
            cells.append(cell(rows) if rows else "")
        lines.append(f"| {variant['name']}: {variant['what']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", action="append", help="a variant's name; all without")
    parser.add_argument("--seeds", type=int, nargs="*", help="in place of the plan's")
    parser.add_argument("--table", action="store_true", help="print what there is and run nothing")
    arguments = parser.parse_args()
    # What is running hears Ctrl-C too and ends when it has saved itself; `subprocess` would kill it before. No `SIG_IGN`: it would inherit that.
    signal.signal(signal.SIGINT, lambda *_: None)
    plan, out = tomllib.loads(arguments.plan.read_text()), arguments.out
    seeds = arguments.seeds if arguments.seeds is not None else plan["seeds"]
    if not arguments.table:
        out.mkdir(parents=True, exist_ok=True)
        if not (out / "dataset").exists():
            part = out / "dataset.part"
            shutil.rmtree(part, ignore_errors=True)
            armilla("record", "--config", plan["record"], "--out", part)
            part.rename(out / "dataset")
        for seed in seeds:
            for variant in plan["variants"]:
                if arguments.only is None or variant["name"] in arguments.only:
                    for evaluation in plan["evaluations"]:
                        evaluated(plan, variant, seed, evaluation, out)
                    print(table(plan, seeds, out), flush=True)
    print(table(plan, seeds, out))
