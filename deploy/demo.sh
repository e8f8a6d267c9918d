#!/bin/sh
# Plays the demo clip through both daemons over loopback, then says what came of it.
#   sh deploy/demo.sh [DIRECTORY]
# `sender`, `receiver` and `python` are those of the environment that the PATH names first; `make demo` sees to that.
set -eu

out=${1:-demo-out}
receiver_pid=""
patience_tenths=1200 # the first start of a fresh installation compiles and caches; two minutes are ample

stop_receiver() {
    [ -n "$receiver_pid" ] || return 0
    kill "$receiver_pid" 2>/dev/null || true
    tenths_left=100 # it finishes what it is writing; ten seconds are ample
    while kill -0 "$receiver_pid" 2>/dev/null && [ "$tenths_left" -gt 0 ]; do
        tenths_left=$((tenths_left - 1))
        sleep 0.1
    done
    kill -9 "$receiver_pid" 2>/dev/null || true
    wait "$receiver_pid" 2>/dev/null || true
    receiver_pid=""
}
trap stop_receiver EXIT
trap 'exit 130' INT TERM

fail() {
    echo "demo: $1" >&2
    exit 1
}

last_line() {
    tail -n 1 "$1" | tr -d '\r'
}

command -v sender >/dev/null && command -v receiver >/dev/null || fail "sender and receiver are not installed; run make demo"
mkdir -p "$out" 2>/dev/null || fail "cannot make the directory $out"
# An earlier demo's output would be counted with this one's.
rm -rf "$out/meshes" "$out/frames.jsonl" "$out/index.json" "$out/contact-sheet.png" "$out/receiver.log" "$out/sender.log"

receiver --listen 127.0.0.1:0 --out "$out" >"$out/receiver.log" 2>&1 &
receiver_pid=$!

address=""
while [ -z "$address" ]; do
    kill -0 "$receiver_pid" 2>/dev/null || fail "the receiver ended: $(last_line "$out/receiver.log")"
    [ "$patience_tenths" -gt 0 ] || fail "the receiver is not listening after two minutes; see $out/receiver.log"
    patience_tenths=$((patience_tenths - 1))
    sleep 0.1
    address=$(sed -n 's/.*listening on \([^ ]*:[0-9][0-9]*\).*/\1/p' "$out/receiver.log" | head -n 1)
done

echo "demo: sending the demo clip to $address"
sender --camera demo --peer "$address" >"$out/sender.log" 2>&1 ||
    fail "the sender ended with exit code $?: $(last_line "$out/sender.log")"
kill -0 "$receiver_pid" 2>/dev/null || fail "the receiver ended early: $(last_line "$out/receiver.log")"
stop_receiver

clip=$(python -c 'from sender.capture.open import DEMO_CLIP; print(DEMO_CLIP)')
python -m receiver.report.summary "$out" --clip "$clip"
