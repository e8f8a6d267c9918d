#!/bin/sh
# Makes the certificates of sender and receiver of the compose files, or renews those that expire within 30 days.
#     sh nodes.sh AUTHORITY KEYS
# The authority's key stays in AUTHORITY; KEYS/receiver and KEYS/sender get what each node needs, and nothing else.
set -eu
scripts=$(dirname "$0")
authority=$1 keys=$2
umask 077

# The sender knows the receiver as `relay` in compose.yaml, and as `receiver` in compose.pool.yaml; its health checks use
# `localhost`.
[ -e "$authority/ca.key" ] || sh "$scripts/make-ca.sh" "$authority"
for node in receiver sender; do
    hosts=""
    [ "$node" = sender ] || hosts="relay receiver localhost 127.0.0.1"
    if openssl x509 -in "$keys/$node/$node.pem" -noout -checkend 2592000 >/dev/null 2>&1 &&
        cmp -s "$authority/ca.pem" "$keys/$node/ca.pem"; then
        echo "the certificate of $node is valid for more than 30 days"
        continue
    fi
    # shellcheck disable=SC2086 # a list of host names, meant to be split
    sh "$scripts/issue.sh" "$authority" "$node" $hosts
    mkdir -p "$keys/$node"
    cp "$authority/ca.pem" "$keys/$node/ca.pem"
    mv "$authority/$node.key" "$keys/$node/$node.key"
    mv "$authority/$node.pem" "$keys/$node/$node.pem"
done
