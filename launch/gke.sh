#!/usr/bin/env bash
# One training run on a multi-host TPU slice of a GKE cluster, as a JobSet: pods that
# are started again together until the run is done.
#
#   NAME=id2face IMAGE=REGION-docker.pkg.dev/P/R/id2face:1 CLAIM=runs \
#   ACCELERATOR=tpu-v5p-slice TOPOLOGY=4x4x4 HOSTS=16 CHIPS_PER_HOST=4 \
#   CONFIG=configs/ffhq512.py WORKDIR=/runs/ffhq512 \
#       launch/gke.sh [--dry-run] [--config.key=value ...]
#
# The cluster needs the JobSet controller. --dry-run prints the manifest. To resume a
# run, or to go on with a longer one, run the same command again.
set -euo pipefail

: "${NAME:?name of the JobSet}"
: "${IMAGE:?container image of this repository, see launch/README.md}"
: "${CLAIM:?PersistentVolumeClaim that all pods can write; it is mounted at /runs}"
: "${ACCELERATOR:?GKE accelerator label, for example tpu-v5p-slice}"
: "${TOPOLOGY:?chips of the slice, for example 4x4x4}"
: "${HOSTS:?hosts of that slice: chips / chips a host}"
: "${CHIPS_PER_HOST:?chips of a host, for example 4}"
: "${CONFIG:?config file, for example configs/ffhq512.py}"
: "${WORKDIR:?folder of the run, below /runs}"
RESTARTS="${RESTARTS:-50}"  # of all pods together, before the run is given up

dry_run=false
if [[ "${1:-}" == --dry-run ]]; then
    dry_run=true
    shift
fi

# A JSON list is a YAML list, and its quoting is safe.
json_list() {
    local item list=""
    for item in "$@"; do
        item="${item//\\/\\\\}"
        list+="\"${item//\"/\\\"}\", "
    done
    echo "[${list%, }]"
}

manifest() {
    cat <<YAML
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $NAME
spec:
  failurePolicy:
    maxRestarts: $RESTARTS
  replicatedJobs:
  - name: slice
    replicas: 1
    template:
      spec:
        parallelism: $HOSTS
        completions: $HOSTS
        completionMode: Indexed
        backoffLimit: 0  # one dead pod restarts all: the others would wait for it
        template:
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 300  # time to save
            nodeSelector:
              cloud.google.com/gke-tpu-accelerator: $ACCELERATOR
              cloud.google.com/gke-tpu-topology: $TOPOLOGY
            containers:
            - name: train
              image: $IMAGE
              # A run that was stopped and saved ends with 75, so that it is started
              # again.
              command: $(json_list python -m id2face_jax.cli train --distributed auto \
                  --config "$CONFIG" --workdir "$WORKDIR" "$@")
              resources:
                limits:
                  google.com/tpu: $CHIPS_PER_HOST
              volumeMounts:
              - name: runs
                mountPath: /runs
            volumes:
            - name: runs
              persistentVolumeClaim:
                claimName: $CLAIM
YAML
}

if "$dry_run"; then
    manifest "$@"
    exit 0
fi
# A finished JobSet of the same name would keep the new one from starting.
kubectl delete jobset "$NAME" --ignore-not-found
manifest "$@" | kubectl apply -f -
