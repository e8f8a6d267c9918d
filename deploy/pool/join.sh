#!/bin/sh
# Makes this machine or container a node of a Ray cluster that offers no cores, then becomes a command there:
#     sh join.sh HEAD:6379 receiver --engine ray:HEAD:6379 ...
# A receiver is a driver of Ray, and a driver looks for its node among the processes that it can see: node and receiver
# must be on one machine, or in one container. The node ends with the container, and the receiver with its node.
set -eu
head=$1
shift
ray start --address="$head" --num-cpus=0 --num-gpus=0 --object-store-memory="${OBJECT_STORE_BYTES:-200000000}" \
    --metrics-export-port=8090 --disable-usage-stats >&2
exec "$@"
