#!/usr/bin/env python3
"""Writes the figures of `scripts/results.sh` into docs/results.md, between the two marks.

    scripts/results_table.py [DEMO_FOLDER]
"""

import json
import math
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MARKS = ("<!-- figures -->", "<!-- end of figures -->")
# File, what the row is called, the floor that cheats, the aim in percent.
ROWS = [
    ("two-room-crossing", "`two-room` crossing, planner", "straight-line", 60),
    ("two-room-ahead", "`two-room` ahead, planner", "straight-line", 90),
    ("tabletop-new-scenes", "`tabletop` new scenes, policy", "reach-only", None),
    ("tabletop-new-templates", "`tabletop` new templates, policy", "reach-only", None),
    ("tabletop-unseen-pairs", "`tabletop` unseen colour × shape, policy", "reach-only", 50),
    ("tabletop-unseen-verb-object", "`tabletop` unseen verb × object, policy", "reach-only", None),
]
POOLED = ("tabletop-new-scenes", "tabletop-new-templates")


def percent(share):
    return f"{100 * share:.1f}"


def interval(low, high):
    return f"[{percent(low)}, {percent(high)}]"


def wilson(successes, episodes, z=1.959964):
    share = successes / episodes
    scale = 1 + z * z / episodes
    center = share + z * z / (2 * episodes)
    reach = z * math.sqrt(share * (1 - share) / episodes + z * z / (4 * episodes**2))
    return (center - reach) / scale, (center + reach) / scale


def aimed(share, aim):
    if aim is None:
        return ""
    return f"≥ {aim}" + ("" if 100 * share >= aim else ": **missed**")


def row(result, name, cheat, aim):
    floors = result["floors"]
    rate = f"**{percent(result['success'])} %** {interval(result['ci_low'], result['ci_high'])}"
    if cheat == "straight-line":
        rate += f"; at the end {percent(result['success_at_end']['success'])}"
    cells = [
        name,
        rate,
        percent(floors["nothing"]),
        percent(floors["random"]),
        f"{cheat.replace('-', ' ')} {percent(floors[cheat])}",
        percent(floors["expert"]),
        aimed(result["success"], aim),
    ]
    return "| " + " | ".join(cells) + " |"


def pooled(results):
    episodes = sum(result["episodes"] for result in results)
    successes = sum(round(result["success"] * result["episodes"]) for result in results)
    share = successes / episodes
    rate = f"**{percent(share)} %** {interval(*wilson(successes, episodes))}"
    return f"| `tabletop` these two pooled | {rate} | | | | | {aimed(share, 80)} |"


def families(result):
    return ", ".join(f"{name.replace('_', ' ')} {percent(share)}" for name, share in result["families"].items())


def main():
    demo = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out")
    report = json.loads((demo / "report.json").read_text())

    def load(name):
        found = json.loads((demo / "results" / f"{name}.json").read_text())
        return found["results"][0] if "results" in found else found

    lines = [
        "| episodes | success | nothing | random | cheat | expert | aim |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for file, name, cheat, aim in ROWS:
        lines.append(row(load(file), name, cheat, aim))
        if file == POOLED[-1]:
            lines.append(pooled([load(file) for file in POOLED]))
    blank, swapped = load("tabletop-blank"), load("tabletop-swapped")
    latents = report["latents"]
    seconds = {stage["name"]: stage["seconds"] for stage in report["stages"]}
    stages = ", ".join(f"{name} {taken:.0f}" for name, taken in seconds.items() if taken >= 10)
    lines += [
        "",
        f"By family, new scenes: {families(load(POOLED[0]))} %. New templates: {families(load(POOLED[1]))} %.",
        f"With no words the policy solves {percent(blank['success'])} % {interval(blank['ci_low'], blank['ci_high'])} of the new "
        f"scenes, with another task's words {percent(swapped['success'])} % "
        f"{interval(swapped['ci_low'], swapped['ci_high'])}.",
        "",
        f"Latents on held-out episodes: effective rank {latents['effective_rank']:.1f}, smallest standard deviation "
        f"{latents['smallest_std']:.3f}, action-shuffle ratio {latents['action_shuffle_ratio']:.2f}.",
        "",
        f"The demo took {sum(seconds.values()):.0f} s, of which {stages}.",
    ]
    page = ROOT / "docs" / "results.md"
    before, rest = page.read_text().split(MARKS[0])
    _, after = rest.split(MARKS[1])
    page.write_text(before + MARKS[0] + "\n" + "\n".join(lines) + "\n" + MARKS[1] + after)


if __name__ == "__main__":
    main()
