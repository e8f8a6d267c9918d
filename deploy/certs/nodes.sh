#!/bin/sh
# Makes the certificates of the two nodes of deploy/compose.yaml, or renews those that expire within 30 days.
#     sh nodes.sh AUTHORITY KEYS
# The authority's key stays in AUTHORITY; KEYS/receiver and KEYS/sender get what each node needs, and nothing else.
# RECEIVER_HOSTS are the names by which senders reach receivers; their own health checks use `localhost`.
set -eu
scripts=$(dirname "$0")
authority=$1 keys=$2
umask 077

# In compose.yaml, both ends of the link know the receiver as `relay`.
[ -e "$authority/ca.key" ] || sh "$scripts/make-ca.sh" "$authority"
for node in receiver sender; do
    hosts=""
    [ "$node" = sender ] || hosts="${RECEIVER_HOSTS:-relay receiver} localhost 127.0.0.1"
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
