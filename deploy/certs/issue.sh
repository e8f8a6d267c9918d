#!/bin/sh
# Issues a certificate from the authority in DIRECTORY: NAME.pem and NAME.key, for a receiver or for a sender.
#     sh deploy/certs/issue.sh DIRECTORY NAME [HOST...]     DAYS=365 unless set
# Each HOST is a host name or IP address by which senders reach the receiver; a sender's certificate needs none.
# Issuing again replaces both files; a running receiver uses the new ones from the next connection on.
set -eu
if [ $# -lt 2 ] || [ ! -e "$1/ca.key" ]; then
    echo "usage: sh deploy/certs/issue.sh DIRECTORY NAME [HOST...], DIRECTORY made by make-ca.sh" >&2
    exit 2
fi
directory=$1 name=$2
shift 2
names="DNS:$name"
for host in "$@"; do
    case $host in
    *:* | *[0-9].[0-9]*.[0-9]*.[0-9]*) names="$names,IP:$host" ;;
    *) names="$names,DNS:$host" ;;
    esac
done
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
    -keyout "$work/key" -out "$work/request" 2>/dev/null
printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature\n' "$names" >"$work/extensions"
openssl x509 -req -in "$work/request" -CA "$directory/ca.pem" -CAkey "$directory/ca.key" -CAcreateserial \
    -CAserial "$work/serial" -sha256 -days "${DAYS:-365}" -extfile "$work/extensions" -out "$work/pem" 2>/dev/null
# The key first: a reader that finds the new certificate must find its key too.
mv "$work/key" "$directory/$name.key"
mv "$work/pem" "$directory/$name.pem"
chmod 644 "$directory/$name.pem"
echo "wrote $directory/$name.pem and $directory/$name.key, for $names"
