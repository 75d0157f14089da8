#!/bin/sh
# `make demo`: an emergency stop of one simulated teepod, from plan to verified audit log. Touches nothing real.
set -eu
export ORCHESTRATOR_STATE_DIR="${ORCHESTRATOR_STATE_DIR:-$PWD/demo}"
if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi
run() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; "$@"; }
run orchestrator run emergency-stop-teepod --simulate --var teepod=prod-1 --yes
log=$(ls -t "$ORCHESTRATOR_STATE_DIR"/runs/*.jsonl | head -n 1)
run orchestrator audit verify "$log"
run orchestrator runs --limit 3
printf '\nThe audit log, one JSON object a line:\n  %s\n' "$log"
