#!/usr/bin/env bash
# One training run as several processes on this machine's CPU, joined over loopback:
# what a cluster does, small enough to test.
#
#   PROCESSES=2 DEVICES=2 launch/local.sh --config configs/smoke.py --workdir runs/two
#
# All arguments go to `id2face train`. To resume, run the same command again.
set -euo pipefail

: "${PROCESSES:?how many processes, for example 2}"
: "${DEVICES:?how many devices each process pretends to have, for example 2}"
PYTHON="${PYTHON:-$(dirname "${BASH_SOURCE[0]}")/../.venv/bin/python}"

# A port that is free now. Two runs started in the same moment could draw the same one.
PORT="$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"

export JAX_PLATFORMS=cpu                            # never a GPU: they cannot be shared
export JAX_NUM_CPU_DEVICES="$DEVICES"               # this many devices a process
export JAX_CPU_COLLECTIVES_IMPLEMENTATION=gloo      # collectives between processes
export JAX_COORDINATOR_BIND_ADDRESS="127.0.0.1:$PORT"  # not reachable from outside

pids=()
# A signal to this script, such as SIGTERM, goes to every process.
trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' TERM INT
for ((i = 0; i < PROCESSES; i++)); do
    "$PYTHON" -m id2face_jax.cli train "$@" \
        --distributed "$i/$PROCESSES@127.0.0.1:$PORT" &
    pids+=($!)
done

code=0
for pid in "${pids[@]}"; do
    # A trapped signal ends `wait` early, while the process is still saving: wait again.
    while rc=0; wait "$pid" || rc=$?; kill -0 "$pid" 2>/dev/null; do :; done
    [ "$rc" -eq 0 ] || code="$rc"
done
exit "$code"
