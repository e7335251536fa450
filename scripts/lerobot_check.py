"""Opens what Armilla records in Python LeRobot and compares it, frame by frame and statistic by statistic.

    cargo test --release -p armilla-data -- --ignored write_what_lerobot_checks
    python scripts/lerobot_check.py            # with lerobot[dataset]==0.6.1

The test records a dataset under the system's temporary folder and leaves beside it what went in and what
Armilla itself decodes.
"""
import tempfile
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

HERE = Path(tempfile.gettempdir()) / "armilla-lerobot-check"
STATISTICS = ["min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99"]


def stored(episode, what, dtype, shape):
    return np.fromfile(HERE / f"frames/{episode:03}.{what}", dtype).reshape(-1, *shape)


def statistics(values):
    axes = tuple(i for i in range(values.ndim) if i != 1)
    quantiles = {f"q{q:02}": np.quantile(values, q / 100, axis=axes) for q in (1, 10, 50, 90, 99)}
    return {"min": values.min(axes), "max": values.max(axes), "mean": values.mean(axes), "std": values.std(axes), **quantiles}


def main():
    dataset = LeRobotDataset("armilla/check", root=HERE / "dataset", video_backend="pyav", return_uint8=True)
    cameras = {key: dataset.features[key]["shape"] for key in dataset.meta.video_keys}
    print(f"{dataset.num_episodes} episodes, {dataset.num_frames} frames, cameras {cameras}")
    decoders, errors, originals = [], [], {key: [] for key in cameras}
    items = (dataset[i] for i in range(len(dataset)))
    for episode in range(dataset.num_episodes):
        state, action = stored(episode, "state", "<f4", (2,)), stored(episode, "action", "<f4", (3,))
        task = (HERE / f"frames/{episode:03}.task").read_text()
        pictures = {key: [stored(episode, f"{key.split('.')[-1]}.{kind}", "u1", shape) for kind in ("original", "decoded")]
                    for key, shape in cameras.items()}
        for frame in range(len(state)):
            item = next(items)
            assert (item["episode_index"], item["frame_index"], item["task"]) == (episode, frame, task)
            assert abs(item["timestamp"] - frame / dataset.fps) < 1e-6
            assert (item["observation.state"].numpy() == state[frame]).all() and (item["action"].numpy() == action[frame]).all()
            for key, (original, decoded) in pictures.items():
                peer = item[key].numpy().transpose(1, 2, 0).astype(int)
                decoders.append(np.abs(peer - decoded[frame]).max())
                errors.append(np.abs(peer - original[frame].astype(int)).mean())
                originals[key].append(original[frame])
    assert next(items, None) is None
    print(f"states, actions, tasks, times: equal\nPyAV against Armilla's decoder: at most {max(decoders)} of 255")
    print(f"PyAV against the original picture: mean {np.mean(errors):.2f}, worst frame {max(errors):.2f} of 255")
    table = dataset.hf_dataset.with_format("numpy")
    for key, found in dataset.meta.stats.items():
        values = np.stack(originals[key]).transpose(0, 3, 1, 2) / 255 if key in cameras else np.asarray(table[key], np.float64)
        expected = statistics(values if values.ndim > 1 else values[:, None])
        off = {name: float(np.abs(np.ravel(found[name]) - expected[name]).max()) for name in STATISTICS}
        # A picture's quantiles are the mean of its episodes', in LeRobot too.
        exact = [off[name] for name in STATISTICS if not (key in cameras and name.startswith("q"))]
        print(f"{key}: count {found['count']}, off by at most {max(exact):.1e}, quantiles {max(off[n] for n in off if n[0] == 'q'):.1e}")
        assert max(exact) < 1e-6 and found["count"] == len(values)


if __name__ == "__main__":
    main()
