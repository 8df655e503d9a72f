#!/usr/bin/env bash
# Trains on one GPU for some minutes, offline, and leaves the weights in small pieces.
#
#   launch/one_gpu.sh PACKED AUTOENCODER OUT MINUTES [--config.key=value ...]
#
# PACKED: of `python -m id2face_jax.data.packed RECORDS PACKED`; AUTOENCODER: an export.
# OUT gets weights.tar.00, .01, ... of at most 15 MiB, metrics.jsonl and the newest
# sample grid. WHEELS, if set, is a folder of wheels that this machine's Python lacks.
# Put together again: cat OUT/weights.tar.* | tar x
set -euo pipefail
: "${4:?usage: launch/one_gpu.sh PACKED AUTOENCODER OUT MINUTES [overrides]}"
packed=$1 autoencoder=$2 out=$3 minutes=$4
shift 4
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
work=${WORK:-runs/one_gpu}
mkdir -p "$out" "$work"
if [[ -n ${WHEELS:-} ]]; then
  # Beside the machine's own packages, which stay as they are.
  "$python" -m pip install --quiet --no-index --no-deps --target "$work/packages" \
    --upgrade "$WHEELS"/*.whl
  export PYTHONPATH="$work/packages${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
"$python" -m id2face_jax.cli train --config "${CONFIG:-configs/one_gpu.py}" \
  --workdir "$work/run" --config.data.records="$packed" \
  --config.autoencoder.weights="$autoencoder" \
  --config.train.max_minutes="$minutes" "$@"
rm -rf "$work/export"
"$python" -m id2face_jax.cli export --checkpoint "$work/run" --out "$work/export" \
  --dtype bfloat16
tar -C "$work" -cf - export | split -b 15M -d - "$out/weights.tar."
cp "$work/run/metrics.jsonl" "$out/"
newest=$(find "$work/run" -path '*/samples/*.png' | sort | tail -n 1)
[[ -z $newest ]] || cp "$newest" "$out/"
ls -l "$out"
