#!/bin/sh
# Plays the demo clip and six photographs through both daemons over loopback, and prints a summary of the output.
#   sh deploy/demo.sh [DIRECTORY]
# Uses `sender`, `receiver` and `python` from the PATH; `make demo` puts those of .venv first. With DEMO_KEEP=1 the page
# stays up until Ctrl-C.
set -eu

out=${1:-demo-out}
keep=${DEMO_KEEP:-}
receiver_pid=""
start_tenths_left=1200 # two minutes: the first start of a new installation compiles and fills caches

progress_pid=""

# Says now and then how many of $2 frames of session $1 have arrived.
progress() {
    said="" pause=15
    [ ! -t 1 ] || pause=1
    while sleep "$pause"; do
        arrived=$(grep -c "\"session\":$1," "$out/frames.jsonl" 2>/dev/null) || true
        now="demo: ${arrived:-0} of $2 have arrived"
        if [ -t 1 ]; then
            printf '\r%s' "$now"
        elif [ "$now" != "$said" ]; then
            echo "$now"
        fi
        said=$now
    done
}

stop_progress() {
    [ -n "$progress_pid" ] || return 0
    kill "$progress_pid" 2>/dev/null || true
    wait "$progress_pid" 2>/dev/null || true
    progress_pid=""
    [ ! -t 1 ] || printf '\r                                        \r'
}

# Sends source $1, whose $4 frames or pictures become session $3; $2 has the log.
send() {
    progress "$3" "$4" &
    progress_pid=$!
    sender --camera "$1" --peer "$address" >"$2" 2>&1 || fail "the sender exited with code $?: $(last_line "$2")"
    stop_progress
}

stop_receiver() {
    stop_progress
    [ -n "$receiver_pid" ] || return 0
    kill "$receiver_pid" 2>/dev/null || true
    tenths_left=100 # ten seconds to finish the files that it is writing
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
    stop_progress
    echo "demo: $1" >&2
    exit 1
}

last_line() {
    tail -n 1 "$1" | tr -d '\r'
}

command -v sender >/dev/null && command -v receiver >/dev/null || fail "sender and receiver are not installed; run make demo"
# Only the user who runs the demo can read what it writes.
(umask 077 && mkdir -p "$out") 2>/dev/null || fail "cannot create the directory $out"
# The summary must not count the output of an earlier demo.
rm -rf "$out/meshes" "$out/frames.jsonl" "$out/sessions.jsonl" "$out/index.json" "$out/contact-sheet.png"
rm -f "$out/photographs.png" "$out/photographs.txt" "$out/receiver.log" "$out/sender.log" "$out/photographs.log"

echo "demo: starting the receiver; its first start takes a minute"
receiver --listen 127.0.0.1:0 --out "$out" >"$out/receiver.log" 2>&1 &
receiver_pid=$!

frames_of_clip=$(python -c '
import av
from sender.capture.open import DEMO_CLIP
print(av.open(str(DEMO_CLIP)).streams.video[0].frames, DEMO_CLIP)
')
frames=${frames_of_clip%% *} clip=${frames_of_clip#* }
address=""
while [ -z "$address" ]; do
    kill -0 "$receiver_pid" 2>/dev/null || fail "the receiver exited: $(last_line "$out/receiver.log")"
    [ "$start_tenths_left" -gt 0 ] || fail "the receiver is not listening after two minutes; see $out/receiver.log"
    start_tenths_left=$((start_tenths_left - 1))
    sleep 0.1
    address=$(sed -n 's/.*listening on \([^ ]*:[0-9][0-9]*\).*/\1/p' "$out/receiver.log" | head -n 1)
done

echo "demo: sending the demo clip to $address; the sender loads its networks first"
send demo "$out/sender.log" 1 "$frames frames"
kill -0 "$receiver_pid" 2>/dev/null || fail "the receiver exited early: $(last_line "$out/receiver.log")"
page=$(sed -n 's/.*page: \(http[^ ]*\).*/\1/p' "$out/receiver.log" | head -n 1)
[ -n "$page" ] || fail "the receiver serves no page; see $out/receiver.log"
echo "demo: sending six photographs"
send demo-photos "$out/photographs.log" 2 "6 photographs"
[ -n "$keep" ] || stop_receiver

echo "demo: checking every mesh, and drawing the sheets"
python -m receiver.report "$out" --clip "$clip" --session 1
python -m receiver.report "$out" --clip "${clip%/*}/photographs" --session 2 >"$out/photographs.txt" ||
    fail "the photographs failed a check; see $out/photographs.txt"
last_line "$out/photographs.txt"
if [ -n "$keep" ]; then
    echo "page: $page (Ctrl-C ends it)"
    trap 'exit 0' INT TERM
    wait "$receiver_pid"
else
    echo "page: $page (has ended; DEMO_KEEP=1 make demo keeps it up)"
fi
