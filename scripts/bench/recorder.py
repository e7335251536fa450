#!/usr/bin/env python3
"""Measures `armilla bench recorder` and LeRobot recording the same pictures, in turns, and prints both.

    python scripts/bench/recorder.py [--seconds 10] [--rounds 3]        # with lerobot[dataset]==0.6.1

Needs the program built: `cargo build --release`. LeRobot records an episode of that many seconds at 30 Hz, as fast as it
can, in its two ways: PNG files that are encoded when the episode is saved (its default, with four image writers a camera as
`lerobot-record` has them), and streaming, with room for all pictures in its queue, since it drops them when it is full.
Both are measured until the episode is saved.
"""

import argparse
import json
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OURS = ROOT / "target" / "release" / "armilla"
HEIGHT, WIDTH, FPS, PICTURES = 480, 640, 30, 16
JOINTS = ["pan", "lift", "elbow", "flex", "roll", "grip"]


def picture(camera, number):
    """The same as in `crates/armilla/src/commands/bench/recorder.rs`."""
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    boxed = ((column + 4 * number) % 64 < 28) & ((row + 20 * camera) % 96 < 40)
    ground = np.stack([40 + row // 4, 30 + column // 5, np.full_like(row, 120)], -1)
    color = np.where(boxed[..., None], [200, 60, 30], ground)
    first = (camera * PICTURES + number) * HEIGHT * WIDTH * 3
    mixed = (np.arange(first, first + HEIGHT * WIDTH * 3, dtype=np.uint32) * np.uint32(0x9E3779B1)).astype(np.uint32)
    mixed = (mixed ^ (mixed >> 15)) * np.uint32(0x85EBCA77)
    mixed ^= mixed >> 13
    noise = ((mixed & 7) + (mixed >> 3 & 7)).astype(int).reshape(HEIGHT, WIDTH, 3)
    return (color + noise - 7).astype(np.uint8)


def lerobot(streaming, cameras, seconds):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    keys = [f"observation.images.camera{number}" for number in range(cameras)]
    names = ["height", "width", "channels"]
    features = {key: {"dtype": "video", "shape": (HEIGHT, WIDTH, 3), "names": names} for key in keys}
    for key in ("observation.state", "action"):
        features[key] = {"dtype": "float32", "shape": (len(JOINTS),), "names": JOINTS}
    pictures = [{key: picture(camera, number) for camera, key in enumerate(keys)} for number in range(PICTURES)]
    values = {key: np.full(len(JOINTS), 0.25, np.float32) for key in ("observation.state", "action")}
    folder = pathlib.Path(tempfile.mkdtemp())
    steps = round(seconds * FPS)
    options = {"image_writer_threads": 4 * cameras}
    if streaming:
        options = {"streaming_encoding": True, "encoder_queue_maxsize": steps}
    dataset = LeRobotDataset.create("bench/bench", FPS, features, root=folder / "d", **options)
    begun, busy = time.perf_counter(), processor_seconds()
    for step in range(steps):
        dataset.add_frame({**pictures[step % PICTURES], **values, "task": "bench"})
    dataset.save_episode()
    whole, busy = time.perf_counter() - begun, processor_seconds() - busy
    dataset.finalize()
    usage, own, theirs = resource.getrusage, resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    kept = frames_in_video(folder / "d")
    size = sum(path.stat().st_size for path in folder.rglob("*.mp4"))
    shutil.rmtree(folder)
    return {
        "steps": steps,
        "dropped": steps - kept,
        "steps_per_sec": kept / whole,
        "processors": busy / whole,
        "megabytes_per_minute": size / 1e6 / (kept * cameras / FPS / 60),
        # By default LeRobot encodes each camera in a process of its own, of which the largest is told.
        "peak_memory_mib": (usage(own).ru_maxrss + cameras * usage(theirs).ru_maxrss) / 1024,
    }


def processor_seconds():
    """Of this process and of those that it started and that have ended."""
    of = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in of)


def frames_in_video(folder):
    """Frames of the shortest video."""
    import av

    counts = []
    for path in folder.rglob("*.mp4"):
        with av.open(str(path)) as container:
            counts.append(sum(1 for packet in container.demux(video=0) if packet.size))
    return min(counts)


def run(command):
    found = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def show(name, rounds):
    figures = {key: statistics.median(found[key] for found in rounds) for key in rounds[0] if key in SHOWN}
    print(
        f"| {name} | {figures['steps_per_sec']:.1f} | {figures['dropped']:.0f} of {figures['steps']:.0f} "
        f"| {figures['processors']:.2f} | {figures['peak_memory_mib']:.0f} | {figures['megabytes_per_minute']:.0f} |",
        flush=True,
    )


SHOWN = ("steps", "dropped", "steps_per_sec", "processors", "peak_memory_mib", "megabytes_per_minute")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", choices=["default", "streaming"], help="only LeRobot, in this process")
    parser.add_argument("--cameras", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.peer:
        print(json.dumps(lerobot(arguments.peer == "streaming", arguments.cameras, arguments.seconds)))
        return
    ours, peers = {}, {}
    for _ in range(arguments.rounds):
        for found in run([OURS, "bench", "recorder", "--json", "--seconds", arguments.seconds])["results"]:
            ours.setdefault(found["name"], []).append(found)
        for peer in ("default", "streaming"):
            command = [sys.executable, __file__, "--peer", peer, "--seconds", arguments.seconds]
            peers.setdefault(peer, []).append(run(command))
    print("| recording | steps/s | dropped | processors | memory, MiB | MB a camera and minute |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, rounds in ours.items():
        show(f"`{name}`", rounds)
    for name, rounds in peers.items():
        show(f"LeRobot, two cameras, {name}", rounds)


if __name__ == "__main__":
    main()
