#!/usr/bin/env python3
"""Measures `armilla bench loader` and LeRobot's DataLoader in turns on the same files, and prints the ratios.

    pip install "lerobot[dataset]==0.6.1"
    python scripts/bench/loader.py FOLDER [--seconds 5] [--rounds 3]

Needs Armilla built: `cargo build --release`, with `--features asm` for decoding in assembly. FOLDER keeps the two datasets that
LeRobot records (AV1, its default): 96-pixel pictures of a moving square, and two cameras of 640 by 480 pixels. A sample is two
observations and 16 actions; batches of 32, in random order. Each side is given its best number of workers.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OURS = ROOT / "target" / "release" / "armilla"
CASES = {
    "push-t-like": dict(cameras=["image"], size=(96, 96), episodes=20, length=150, fps=10),
    "two-640x480": dict(cameras=["front", "wrist"], size=(480, 640), episodes=4, length=150, fps=30),
}
BATCH = 32


def pictures(case, rng):
    """A square that wanders over a fixed ground with some noise, as cameras see it."""
    import numpy as np

    (height, width), unit = case["size"], case["size"][0] // 12
    ground = rng.integers(60, 200, (height // unit + 1, width // unit + 1, 3), dtype=np.uint8)
    ground = np.kron(ground, np.ones((unit, unit, 1), dtype=np.uint8))[:height, :width]
    place = rng.uniform(0.3, 0.7, 2) * (height, width)
    for _ in range(case["length"]):
        place = np.clip(place + rng.normal(0, unit / 2, 2), unit, (height - unit, width - unit))
        picture = np.clip(ground + rng.normal(0, 2, ground.shape), 0, 255).astype(np.uint8)
        top, left = place.astype(int)
        picture[top - unit : top + unit, left - unit : left + unit] = (220, 60, 20)
        yield picture, place


def record(root, case):
    import numpy as np
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    vector = {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}
    features = {"observation.state": vector, "action": vector}
    for camera in case["cameras"]:
        shape = (*case["size"], 3)
        features[f"observation.images.{camera}"] = {"dtype": "video", "shape": shape, "names": ["height", "width", "channels"]}
    dataset = LeRobotDataset.create("bench/loader", case["fps"], features, root=root)
    rng = np.random.default_rng(0)
    for _ in range(case["episodes"]):
        for frames in zip(*[pictures(case, rng) for _ in case["cameras"]]):
            step = {f"observation.images.{camera}": frame[0] for camera, frame in zip(case["cameras"], frames)}
            place = frames[0][1].astype(np.float32)
            dataset.add_frame({**step, "observation.state": place, "action": place, "task": "push"})
        dataset.save_episode()
    if hasattr(dataset, "finalize"):
        dataset.finalize()


def memory_mib(kind):
    """The most memory held by this process and its workers, MiB; pages that they share are counted once each."""
    total = 0
    own = pathlib.Path("/proc/self/task").glob("*/children")
    children = [child for path in own for child in path.read_text().split()]
    for process in ["self", *children]:
        for line in pathlib.Path(f"/proc/{process}/{kind}").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def lerobot(root, case, workers, seconds):
    """Samples a second of LeRobot's DataLoader, and its memory."""
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    step = 1 / case["fps"]
    deltas = {f"observation.images.{camera}": [-step, 0.0] for camera in case["cameras"]}
    deltas |= {"observation.state": [-step, 0.0], "action": [step * i for i in range(16)]}
    dataset = LeRobotDataset("bench/loader", root=root, delta_timestamps=deltas)
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=workers)

    def batches():
        while True:
            yield from loader

    source, count, memory = batches(), 0, 0.0
    for _ in range(2 * max(workers, 1)):
        next(source)
    begin = time.perf_counter()
    while count < 3 or time.perf_counter() - begin < seconds:
        next(source)
        count += 1
    rate = count * BATCH / (time.perf_counter() - begin)
    memory = memory_mib("smaps_rollup")
    print(json.dumps({"rate": rate, "memory": memory}))


def run(command):
    found = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", nargs=2, metavar=("CASE", "WORKERS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        name, workers = arguments.peer
        return lerobot(arguments.folder / name, CASES[name], int(workers), arguments.seconds)

    def theirs(name, workers):
        return run([sys.executable, __file__, arguments.folder, "--peer", name, workers, "--seconds", arguments.seconds])

    def ours(name, workers, memory):
        settings = ["--workers", workers, "--memory-gib", memory, "--seconds", arguments.seconds, "--json"]
        found = run([OURS, "bench", "loader", "--dataset", arguments.folder / name, *settings])["results"][0]
        return {"rate": found["costs"]["samples_per_s"], "memory": found["peak_memory_mib"]}

    def best(measure, choices):
        return max(choices, key=lambda choice: measure(choice)["rate"])

    print("| files | Armilla, samples/s | workers | MiB | LeRobot, samples/s | workers | MiB | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, case in CASES.items():
        if not (arguments.folder / name).exists():
            # Under its own name only once it is whole.
            part = arguments.folder / f"{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            record(part, case)
            part.rename(arguments.folder / name)
        their_workers = best(lambda count: theirs(name, count), [0, 1, 2, 4])
        for memory in [0, 4]:
            our_workers = best(lambda count: ours(name, count, memory), [1, 2, 3])
            rounds = [(ours(name, our_workers, memory), theirs(name, their_workers)) for _ in range(arguments.rounds)]
            ratio = statistics.median(a["rate"] / b["rate"] for a, b in rounds)
            cells = []
            for side, workers in enumerate([our_workers, their_workers]):
                rate = statistics.median(found[side]["rate"] for found in rounds)
                mib = statistics.median(found[side]["memory"] for found in rounds)
                cells.append(f"{rate:.0f} | {workers} | {mib:.0f}")
            kept = " kept in memory" if memory else ""
            print(f"| {name}{kept} | {cells[0]} | {cells[1]} | **{ratio:.1f}** |", flush=True)


if __name__ == "__main__":
    main()
