"""Compares `armilla dataset convert` with LeRobot's own converter on a dataset in the v2.1 layout, and has LeRobot read both.

    python scripts/lerobot_convert_check.py [FOLDER]     # with lerobot[dataset]==0.6.1 and target/release/armilla built

FOLDER is the fixture of v2.1 unless given.
"""
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.scripts.convert_dataset_v21_to_v30 import convert_dataset

ROOT = Path(__file__).parents[1]
FIXTURE = ROOT / "crates/armilla-data/fixtures/old/lerobot_v21"


def without_grids(source, target):
    """A copy without features of several axes, at which LeRobot's converter fails."""
    shutil.copytree(source, target)
    info = json.loads((target / "meta/info.json").read_text())
    grids = [key for key, feature in info["features"].items() if len(feature["shape"]) > 1 and feature["dtype"] not in ("image", "video")]
    info["features"] = {key: feature for key, feature in info["features"].items() if key not in grids}
    (target / "meta/info.json").write_text(json.dumps(info))
    lines = [json.loads(line) for line in (target / "meta/episodes_stats.jsonl").read_text().splitlines()]
    for line in lines:
        line["stats"] = {key: found for key, found in line["stats"].items() if key not in grids}
    (target / "meta/episodes_stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for path in target.rglob("*.parquet"):
        table = pq.read_table(path).drop_columns(grids)
        pq.write_table(table.replace_schema_metadata({}), path)
    return target


def same(left, right):
    if isinstance(left, str):
        return left == right
    return np.array_equal(np.asarray(left), np.asarray(right))


def main():
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURE
    here = Path(tempfile.mkdtemp())
    source = without_grids(source, here / "source")
    ours, theirs = here / "ours", here / "theirs"
    subprocess.run([ROOT / "target/release/armilla", "dataset", "convert", source, "--out", ours], check=True)
    shutil.copytree(source, theirs)
    convert_dataset("armilla/theirs", root=theirs, push_to_hub=False)
    ours, theirs = (LeRobotDataset(f"armilla/{root.name}", root=root, video_backend="pyav") for root in (ours, theirs))
    assert len(ours) == len(theirs) and ours.fps == theirs.fps, (len(ours), len(theirs))
    keys = set(theirs.features)
    assert set(ours.features) == keys, (set(ours.features), keys)
    values = 0
    for index in range(len(theirs)):
        left, right = ours[index], theirs[index]
        assert set(left) == set(right), (set(left), set(right))
        for key in left:
            assert same(left[key], right[key]), (index, key, left[key], right[key])
            values += 1 if isinstance(left[key], str) else np.asarray(left[key]).size
    print(f"{len(theirs)} frames, {len(keys)} features: {values} values, pictures among them, equal")
    worst = 0.0
    for key, right in theirs.meta.stats.items():
        left = ours.meta.stats[key]
        for name in right:
            assert np.shape(left[name]) == np.shape(right[name]), (key, name, left[name], right[name])
            difference = np.abs(np.asarray(left[name], float) - np.asarray(right[name], float)).max()
            # Unlike `max`, which passes over what is no number.
            worst = float(np.maximum(worst, difference / max(1.0, float(np.abs(right["max"]).max()))))
    print(f"statistics of {len(theirs.meta.stats)} features: within {worst:.1e}, relative to the largest value")
    assert worst < 1e-5
    shutil.rmtree(here)


if __name__ == "__main__":
    main()
