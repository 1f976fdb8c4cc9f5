#!/usr/bin/env bash
# Three seeds of the demo with default settings: train, forget a tenth of the people, retrain, audit.
# From the repository, with multidelete installed: benchmarks/personas/run.sh
# Finished seeds are not run again. Keeps each audit.json here; the rest stays in runs/.
set -euo pipefail
here=$(dirname "$0")
for seed in 1 2 3; do
  if [ ! -f "$here/seed-$seed.json" ]; then
    multidelete demo --seed "$seed" --out "runs/personas-$seed" --overwrite
    cp "runs/personas-$seed/report/audit.json" "$here/seed-$seed.json"
  fi
done
python "$here/table.py"
