#!/usr/bin/env bash
# The figures of docs/results.md: 500 episodes an evaluation of what `armilla demo` left behind.
#   scripts/results.sh [DEMO_FOLDER]
set -euo pipefail
demo="${1:-demo-out}"
armilla="$(dirname "$0")/../target/release/armilla"
planner="$demo/runs/two-room-jepa/checkpoints/last/model"
policy="$demo/runs/tabletop-vla/checkpoints/last/model"
mkdir -p "$demo/results"
rm -f "$demo"/results/*.json
evaluate() { "$armilla" eval --episodes 500 --parallel 100 --json "$demo/results/$1.json" "${@:2}"; }
for protocol in crossing ahead; do
    evaluate "two-room-$protocol" --planner "$planner" --env two-room --protocol "$protocol"
done
for protocol in new-scenes new-templates unseen-pairs unseen-verb-object; do
    evaluate "tabletop-$protocol" --policy "$policy" --env tabletop --protocol "$protocol"
done
for instruction in blank swapped; do
    evaluate "tabletop-$instruction" --policy "$policy" --env tabletop --protocol new-scenes \
        --instruction "$instruction" --no-floors
done
