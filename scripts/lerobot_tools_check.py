"""Loads in Python LeRobot what `armilla dataset merge|split|delete|repair|stats --recount` write: every frame is that of the
dataset it was made of, picture by picture, and episodes, instructions and numbers are those of LeRobot's `dataset_tools`.

    python scripts/lerobot_tools_check.py target/release/armilla            # with lerobot[dataset]==0.6.1
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from lerobot.datasets.dataset_tools import delete_episodes, merge_datasets, split_dataset
from lerobot.datasets.lerobot_dataset import LeRobotDataset

ARMILLA = Path(sys.argv[1]).resolve()
EPISODES = 6


def armilla(*arguments):
    done = subprocess.run([ARMILLA, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)


def opened(root):
    return LeRobotDataset(f"armilla/{root.name}", root=root, video_backend="pyav", return_uint8=True)


def frames_of(dataset, episode):
    row = dataset.meta.episodes[episode]
    return range(row["dataset_from_index"], row["dataset_to_index"])


def compare(name, found, sources, pictures=True):
    """`sources` are (dataset, episode), in the order in which `found` should have them."""
    assert found.num_episodes == len(sources), (name, found.num_episodes)
    count = 0
    for episode, (source, number) in enumerate(sources):
        new, old = frames_of(found, episode), frames_of(source, number)
        assert len(new) == len(old), (name, episode, len(new), len(old))
        assert found.meta.episodes[episode]["tasks"] == source.meta.episodes[number]["tasks"], (name, episode)
        for frame, (index, before) in enumerate(zip(new, old, strict=True)):
            item, expected = found[index], source[before]
            place = [int(item[key]) for key in ("index", "episode_index", "frame_index")]
            assert place == [count, episode, frame], (name, place)
            assert item["task"] == expected["task"], (name, episode, item["task"])
            assert found.meta.tasks.iloc[int(item["task_index"])].name == item["task"], name
            for key in expected:
                picture = key in found.meta.camera_keys
                if key in ("index", "episode_index", "task_index", "task") or (picture and not pictures):
                    continue
                assert np.array_equal(np.asarray(item[key]), np.asarray(expected[key])), (name, episode, frame, key)
            count += 1
    assert count == len(found) == found.meta.total_frames, (name, count, len(found))
    print(f"{name}: {found.num_episodes} episodes, {count} frames, {found.meta.total_tasks} tasks as they should be")


def peers(here, a, b, ours):
    """The same by LeRobot's own tools; it encodes videos anew, so pictures are left out."""
    theirs = {"both": merge_datasets([a, b], "peer/both", output_dir=here / "peer-both"),
              "cut": delete_episodes(a, [0, 2, 3], output_dir=here / "peer-cut", repo_id="peer/cut")}
    theirs |= split_dataset(a, {"train": 0.7, "val": 0.3}, output_dir=here / "peer-split")
    for name, their in theirs.items():
        mine = ours[name]
        compare(f"{name}, by LeRobot", their, [(mine, episode) for episode in range(mine.num_episodes)], pictures=False)
        same = list(mine.meta.tasks.index) == list(their.meta.tasks.index)
        print(f"    task indices {'equal' if same else 'differ: ' + str([list(d.meta.tasks.index) for d in (mine, their)])}")


def main():
    here = Path(tempfile.mkdtemp(prefix="armilla-tools-check-"))
    for name, seed in (("a", 1), ("b", 2)):
        armilla("record", "--env", "tabletop", "--policy", "expert", "--episodes", EPISODES, "--image-size", 64,
                "--seed", seed, "--out", here / name)
    a, b = opened(here / "a"), opened(here / "b")
    every = [(dataset, episode) for dataset in (a, b) for episode in range(EPISODES)]
    armilla("dataset", "merge", here / "a", here / "b", "--out", here / "both")
    armilla("dataset", "split", here / "a", "--parts", "train=0.7,val=0.3", "--out", here / "split")
    armilla("dataset", "delete", here / "a", "--episodes", "0,2-3", "--out", here / "cut")
    armilla("dataset", "stats", here / "both", "--recount", "--out", here / "recounted")
    ours = {name: opened(here / path) for name, path in
            (("both", "both"), ("train", "split/train"), ("val", "split/val"), ("cut", "cut"), ("recounted", "recounted"))}
    train = int(0.7 * EPISODES)
    compare("merge", ours["both"], every)
    compare("recount", ours["recounted"], every)
    compare("split, first", ours["train"], [(a, episode) for episode in range(train)])
    compare("split, last", ours["val"], [(a, episode) for episode in range(train, EPISODES)])
    compare("delete", ours["cut"], [(a, episode) for episode in (1, 4, 5)])
    peers(here, a, b, ours)
    for damaged in ("meta/stats.json", "meta/episodes/chunk-000/file-000.parquet"):
        (here / "b" / damaged).unlink()
    armilla("dataset", "repair", here / "b", "--out", here / "repaired")
    compare("repair", opened(here / "repaired"), every[EPISODES:])
    for name in ("both", "split/train", "split/val", "cut", "recounted", "repaired", "peer-both", "peer-cut", "peer-split/train"):
        done = subprocess.run([ARMILLA, "dataset", "check", here / name], capture_output=True, text=True)
        # What LeRobot wrote may be warned of.
        assert done.returncode == 0 or name.startswith("peer-"), (name, done.stdout, done.stderr)
        print(f"check {name}: {(done.stdout or done.stderr).strip().splitlines()[-1].split(': ', 1)[-1]}")


if __name__ == "__main__":
    main()
