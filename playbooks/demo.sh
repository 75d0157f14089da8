#!/bin/sh
# `make demo`: an emergency stop of one simulated teepod, from plan to verified audit log. Touches nothing real.
set -eu
export ORCHESTRATOR_STATE_DIR="${ORCHESTRATOR_STATE_DIR:-$PWD/demo}"
run() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }
run orchestrator run emergency-stop-teepod --simulate --var teepod=prod-1 --yes
log=$(ls -t "$ORCHESTRATOR_STATE_DIR"/runs/*.jsonl | head -n 1)
run orchestrator audit verify "$log"
run orchestrator runs --limit 3
printf '\nThe audit log, one JSON object a line:\n  %s\n' "$log"
