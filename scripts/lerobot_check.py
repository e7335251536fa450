"""Opens what Armilla records in Python LeRobot and compares every value, picture and statistic.

    cargo test --release --lib -p armilla-data -- --ignored write_what_lerobot_checks
    python scripts/lerobot_check.py            # with lerobot[dataset]==0.6.1

The test records a dataset with every type of feature, in many small files, under the system's temporary folder, and
leaves beside it what went in and what Armilla itself decodes.
"""
import json
import tempfile
from pathlib import Path

import numpy as np
from lerobot.datasets.compute_stats import aggregate_stats, compute_episode_stats, get_feature_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset

HERE = Path(tempfile.gettempdir()) / "armilla-lerobot-check"
QUANTILES = ["q01", "q10", "q50", "q90", "q99"]


class Episode:
    """What went into an episode, and what Armilla decodes of it."""

    def __init__(self, number, features):
        folder = HERE / f"frames/{number:03}"
        self.table = json.loads((folder / "table.json").read_text())
        self.length = len(self.table["task"])
        self.columns, self.originals, self.decoded = {}, {}, {}
        for key, feature in features.items():
            dtype, shape = feature["dtype"], tuple(feature["shape"])
            if dtype in ("image", "video"):
                name = key.split(".")[-1]
                for kind in ("original", "decoded"):
                    pictures = np.fromfile(folder / f"{name}.{kind}", np.uint8).reshape(-1, *shape)
                    getattr(self, f"{kind}s" if kind == "original" else kind)[key] = pictures
            elif key in self.table:
                values = self.table[key]
                if dtype != "string":
                    parse = int if "int" in dtype else float
                    values = np.array([parse(value) for value in values], dtype).reshape(self.length, *shape)
                self.columns[key] = values


def compare_values(dataset, episodes):
    decoders, errors, frames = {}, [], 0
    for number, episode in enumerate(episodes):
        for frame in range(episode.length):
            item = dataset[frames]
            assert (item["episode_index"], item["frame_index"], item["index"]) == (number, frame, frames)
            assert item["task"] == episode.table["task"][frame]
            assert abs(item["timestamp"] - frame / dataset.fps) < 1e-6
            for key, values in episode.columns.items():
                found = item[key]
                if isinstance(found, str):
                    assert found == values[frame], (key, found)
                else:
                    found = np.asarray(found)
                    assert (found.reshape(values[frame].shape) == values[frame]).all(), (key, found, values[frame])
            for key, decoded in episode.decoded.items():
                peer = item[key].numpy()
                peer = (peer if peer.dtype == np.uint8 else np.rint(peer * 255)).transpose(1, 2, 0).astype(int)
                decoders[key] = max(decoders.get(key, 0), np.abs(peer - decoded[frame]).max())
                errors.append(np.abs(peer - episode.originals[key][frame].astype(int)).mean())
            frames += 1
    assert frames == len(dataset)
    print(f"{frames} frames: values, texts, tasks and times equal in {len(episodes[0].columns)} columns")
    print(f"LeRobot's pictures against Armilla's decoder, at most, of 255: {({k: int(v) for k, v in decoders.items()})}")
    print(f"LeRobot's pictures against what was recorded: mean {np.mean(errors):.2f}, worst frame {max(errors):.2f}")


def recomputed(episodes, features):
    """Each episode's statistics by LeRobot's own function, over all of its pictures."""
    for episode in episodes:
        numbers = {key: values.reshape(episode.length) if features[key]["shape"] == (1,) else values
                   for key, values in episode.columns.items() if features[key]["dtype"] != "string"}
        statistics = compute_episode_stats(numbers, features)
        for key, pictures in episode.originals.items():
            counted = get_feature_stats(pictures.transpose(0, 3, 1, 2), axis=(0, 2, 3), keepdims=True)
            statistics[key] = {k: v if k == "count" else np.squeeze(v / 255, axis=0) for k, v in counted.items()}
        yield statistics


def differences(found, expected):
    """The largest difference, in parts of the feature's range; LeRobot finds quantiles within one of 5000 bins."""
    span = np.maximum(np.asarray(expected["max"], float) - expected["min"], 1e-9)
    assert set(found) == set(expected), (set(found), set(expected))
    off = {name: float((np.abs(np.asarray(found[name], float) - expected[name]) / span).max())
           for name in expected if name != "count"}
    assert np.shape(found["mean"]) == np.shape(expected["mean"]), (np.shape(found["mean"]), np.shape(expected["mean"]))
    assert found["count"] == expected["count"], (found["count"], expected["count"])
    exact = max(value for name, value in off.items() if name not in QUANTILES)
    return exact, max(value for name, value in off.items() if name in QUANTILES)


def compare_statistics(dataset, episodes):
    parts = list(recomputed(episodes, dataset.features))
    import pyarrow.parquet as pq
    rows = [row for path in sorted((HERE / "dataset/meta/episodes").rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    worst = {}
    for row, part in zip(rows, parts, strict=True):
        for key, expected in part.items():
            found = {name: np.array(row[f"stats/{key}/{name}"]) for name in expected}
            pair = differences(found, expected)
            worst[key] = tuple(map(max, zip(pair, worst.get(key, (0, 0)))))
    whole = aggregate_stats(parts)
    for key in sorted(whole):
        exact, quantiles = differences(dataset.meta.stats[key], whole[key])
        print(f"{key}: episodes within {worst[key][0]:.1e} (quantiles {worst[key][1]:.1e}), "
              f"whole within {exact:.1e} (quantiles {quantiles:.1e}) of the range")
        # Armilla's quantiles of numbers are the whole dataset's, LeRobot's the mean of the episodes'.
        assert max(worst[key][0], exact) < 1e-5, key


def main():
    dataset = LeRobotDataset("armilla/check", root=HERE / "dataset", video_backend="pyav", return_uint8=True)
    files = [path for folder in ("data", "videos") for path in (HERE / "dataset" / folder).rglob("*.*")]
    print(f"{dataset.num_episodes} episodes, {dataset.num_frames} frames, {len(dataset.features)} features, {len(files)} files")
    episodes = [Episode(number, dataset.features) for number in range(dataset.num_episodes)]
    compare_values(dataset, episodes)
    compare_statistics(dataset, episodes)


if __name__ == "__main__":
    main()
