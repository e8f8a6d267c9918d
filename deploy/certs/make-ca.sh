#!/bin/sh
# Creates a private certificate authority: ca.pem, a copy of which every sender needs, and ca.key, which stays secret.
#     sh deploy/certs/make-ca.sh [DIRECTORY]            DAYS=3650 unless set
set -eu
directory=${1:-certs}
if [ -e "$directory/ca.key" ]; then
    echo "make-ca.sh: $directory/ca.key exists, and certificates that it signed would become invalid: remove it, or give another directory" >&2
    exit 2
fi
umask 077
mkdir -p "$directory"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days "${DAYS:-3650}" \
    -subj "/CN=Bodywire private authority" -addext "keyUsage=critical,keyCertSign,cRLSign" \
    -keyout "$directory/ca.key" -out "$directory/ca.pem" 2>/dev/null
chmod 644 "$directory/ca.pem"
echo "wrote $directory/ca.pem and $directory/ca.key; next: sh deploy/certs/issue.sh $directory NAME HOST..."
