#!/usr/bin/env bash
# One training run on all workers of a Cloud TPU slice: queues for the slice, installs
# this commit, trains, and starts again when the slice is taken away.
#
#   PROJECT=p ZONE=us-east5-a NAME=id2face TYPE=v5p-128 \
#   CONFIG=configs/ffhq512.py WORKDIR=/mnt/runs/ffhq512 \
#       launch/tpu_vm.sh [--dry-run] [--config.key=value ...]
#
# Keep it running (tmux): it holds the ssh sessions. To resume, run the same command.
set -euo pipefail

: "${PROJECT:?Google Cloud project}"
: "${ZONE:?zone that has the accelerator, for example us-east5-a}"
: "${NAME:?name of the slice and of its request}"
: "${TYPE:?accelerator type, for example v5p-128}"
: "${CONFIG:?config file, for example configs/ffhq512.py}"
: "${WORKDIR:?folder of the run, seen by all workers, for example a mounted bucket}"
RUNTIME="${RUNTIME:-v2-alpha-tpuv5}"    # image of the TPU VM; it depends on TYPE
SPOT="${SPOT---spot}"                   # SPOT= (empty) for a slice that is not taken away
MOUNT="${MOUNT:-true}"                  # command on each worker that mounts WORKDIR
POLL_SECONDS="${POLL_SECONDS:-60}"
JAX="jax[tpu]==0.10.2"                  # the version that requirements.txt pins
PREEMPTED=75                            # exit code of a run that was stopped and saved
ARCHIVE="${TMPDIR:-/tmp}/$NAME.tar.gz"
WHERE=(--project "$PROJECT" --zone "$ZONE")

dry_run=false
if [[ "${1:-}" == --dry-run ]]; then
    dry_run=true
    shift
fi

run() {
    if "$dry_run"; then
        printf '%q ' "$@"
        echo
    else
        "$@"
    fi
}

on_workers() {
    run gcloud compute tpus tpu-vm ssh "$NAME" "${WHERE[@]}" --worker=all --command "$1"
}

state() {
    gcloud compute tpus queued-resources describe "$NAME" "${WHERE[@]}" \
        --format 'value(state.state)' 2>/dev/null || echo NONE
}

# Asks for the slice where there is no request, and returns when it is up.
provision() {
    while true; do
        case "$(state)" in
            ACTIVE) return ;;
            NONE) create ;;
            FAILED | SUSPENDED | SUSPENDING) release ;;
            *) sleep "$POLL_SECONDS" ;;
        esac
    done
}

create() {
    # shellcheck disable=SC2086  # an empty SPOT must vanish
    run gcloud compute tpus queued-resources create "$NAME" "${WHERE[@]}" \
        --node-id "$NAME" --accelerator-type "$TYPE" --runtime-version "$RUNTIME" $SPOT
}

release() {
    run gcloud compute tpus queued-resources delete "$NAME" "${WHERE[@]}" --force --quiet
}

install() {
    # The commit, not the folder: what runs can be named afterwards. The images bring
    # Python 3.10, which is too old.
    run git archive --format tar.gz --output "$ARCHIVE" HEAD &&
        run gcloud compute tpus tpu-vm scp "$ARCHIVE" "$NAME:id2face.tar.gz" \
            "${WHERE[@]}" --worker=all &&
        on_workers "set -e; $MOUNT
        sudo apt-get -qq update && sudo apt-get -qq install python3.11-venv
        mkdir -p id2face && tar -xzf id2face.tar.gz -C id2face && cd id2face
        make --silent PYTHON=python3.11 .venv/.ready
        .venv/bin/pip install --quiet '$JAX'"
}

train() {
    # %q: the command passes through one more shell, on the worker.
    on_workers "cd id2face && .venv/bin/python -m id2face_jax.cli train \
--distributed auto $(printf '%q ' --config "$CONFIG" --workdir "$WORKDIR" "$@")"
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if "$dry_run"; then
    create
    install
    train "$@"
    exit 0
fi
while true; do
    provision
    code=0
    { install && train "$@"; } || code=$?
    if ((code == 0)); then
        exit 0
    fi
    sleep "$POLL_SECONDS"  # a slice that is taken away says so a little later
    # A slice that is still there was not the reason: do not repeat a mistake for ever.
    if [[ "$(state)" == ACTIVE && "$code" != "$PREEMPTED" ]]; then
        echo "training failed with $code on a slice that is up; see above" >&2
        exit "$code"
    fi
done
