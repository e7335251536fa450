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
import pyarrow.parquet as pq
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
                    # LeRobot hands out float64 as float32; the table has all digits, see below.
                    found, expected = np.asarray(found), np.asarray(values[frame])
                    expected = expected.astype(np.float32) if expected.dtype == np.float64 else expected
                    assert (found.reshape(expected.shape) == expected).all(), (key, found, expected)
            for key, decoded in episode.decoded.items():
                peer = item[key].numpy()
                peer = (peer if peer.dtype == np.uint8 else np.rint(peer * 255)).transpose(1, 2, 0).astype(int)
                decoders[key] = max(decoders.get(key, 0), np.abs(peer - decoded[frame]).max())
                errors.append(np.abs(peer - episode.originals[key][frame].astype(int)).mean())
            frames += 1
    assert frames == len(dataset)
    table = dataset.hf_dataset.with_format(None)
    for key in episodes[0].columns:
        stored = table[key][:]
        expected = np.concatenate([episode.columns[key] for episode in episodes])
        assert (np.array(stored, expected.dtype).reshape(expected.shape) == expected).all(), key
    print(f"{frames} frames: values, texts, tasks and times equal in {len(episodes[0].columns)} columns")
    print(f"LeRobot's pictures against Armilla's decoder, at most, of 255: {({k: int(v) for k, v in decoders.items()})}")
    print(f"LeRobot's pictures against what was recorded: mean {np.mean(errors):.2f}, worst frame {max(errors):.2f}")


def recomputed(episodes, features):
    """Each episode's statistics by LeRobot's own function, over all of its pictures. LeRobot counts most types as float32 and
    loses digits by it (a plain picture's deviation is up to 5 of 255); here it is given doubles."""
    for episode in episodes:
        numbers = {key: (values.reshape(episode.length) if features[key]["shape"] == (1,) else values).astype(float)
                   for key, values in episode.columns.items() if features[key]["dtype"] != "string"}
        statistics = compute_episode_stats(numbers, features)
        for key, pictures in episode.originals.items():
            counted = get_feature_stats(pictures.transpose(0, 3, 1, 2).astype(float), axis=(0, 2, 3), keepdims=True)
            statistics[key] = {k: v if k == "count" else np.squeeze(v / 255, axis=0) for k, v in counted.items()}
        yield statistics


def differences(found, expected):
    """The largest difference of min, max, mean and std, and of the quantiles, in parts of the feature's range."""
    largest = np.asarray(expected["max"], float)
    # A double has not the digits for the mean of values that are very large beside their range.
    span = np.maximum(largest - expected["min"], 1e-8 * np.abs(largest))
    span = np.ones_like(span) if span.ndim == 3 else np.maximum(span, 1e-9)
    assert set(found) == set(expected), (set(found), set(expected))
    assert found["count"] == expected["count"], (found["count"], expected["count"])
    off = {}
    for name in set(expected) - {"count"}:
        assert np.shape(found[name]) == np.shape(expected[name]), (name, found[name], expected[name])
        off[name] = float((np.abs(np.asarray(found[name], float) - expected[name]) / span).max())
    # Unlike `max`, numpy's keeps what is no number.
    return tuple(float(np.max([v for k, v in off.items() if (k in QUANTILES) == of_quantiles])) for of_quantiles in (False, True))


def exact(values):
    """numpy's quantiles along the last axis, from which LeRobot's histograms of few frames are far; and its deviation, of
    which LeRobot's loses the digits where values are large beside their range."""
    rows = values.reshape(-1, values.shape[-1]).astype(float)
    found = {name: np.quantile(rows, int(name[1:]) / 100, axis=0) for name in QUANTILES}
    return found | ({"std": rows.std(axis=0)} if np.abs(rows).max() > 1e6 * np.ptp(rows) else {})


def compare_statistics(dataset, episodes):
    rows = [row for path in sorted((HERE / "dataset/meta/episodes").rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    theirs = list(recomputed(episodes, dataset.features))
    ours, worst = [], {}
    for row, part, episode in zip(rows, theirs, episodes, strict=True):
        ours.append({})
        for key, expected in part.items():
            found = {name: np.array(row[f"stats/{key}/{name}"]) for name in expected}
            if key in episode.columns:
                ours[-1][key] = expected | exact(episode.columns[key])
            else:
                quantiles = exact(episode.originals[key] / 255)
                ours[-1][key] = expected | {name: value.reshape(3, 1, 1) for name, value in quantiles.items()}
            figures = (*differences(found, ours[-1][key]), differences(found, expected)[1])
            worst[key] = np.maximum(figures, worst.get(key, 0))
    for key, expected in sorted(aggregate_stats(ours).items()):
        if key in episodes[0].columns:
            # Armilla's are the whole dataset's quantiles, LeRobot's the mean of the episodes'.
            expected = expected | exact(np.concatenate([episode.columns[key] for episode in episodes]))
        worst[key] = np.maximum(worst[key], (*differences(dataset.meta.stats[key], expected), 0))
        off, quantiles, lerobot = worst[key]
        print(f"{key}: within {off:.1e} of the range, quantiles within {quantiles:.1e} (an episode's by LeRobot: {lerobot:.1e})")
        assert max(off, quantiles) < 1e-6, key


def main():
    dataset = LeRobotDataset("armilla/check", root=HERE / "dataset", video_backend="pyav", return_uint8=True)
    files = [path for folder in ("data", "videos") for path in (HERE / "dataset" / folder).rglob("*.*")]
    print(f"{dataset.num_episodes} episodes, {dataset.num_frames} frames, {len(dataset.features)} features, {len(files)} files")
    episodes = [Episode(number, dataset.features) for number in range(dataset.num_episodes)]
    compare_values(dataset, episodes)
    table = dataset.hf_dataset.with_format(None)
    for key in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
        values, begin = np.array(table[key][:]).reshape(-1, 1), 0
        for episode in episodes:
            episode.columns[key] = values[begin : begin + episode.length]
            begin += episode.length
    compare_statistics(dataset, episodes)


if __name__ == "__main__":
    main()
