#!/bin/sh
# One run of rich, started by cron: says nothing when it succeeds, and all that the run has said when it fails.
# Every run's words are appended to the log, which is turned over once at 1 MB. The exit code is the run's.
umask 077
log="${XDG_STATE_HOME:-$HOME/.local/state}/prodkit/prodkit-rich.log"
mkdir -p "${log%/*}" || exit 78
if [ -f "$log" ] && [ "$(wc -c <"$log")" -gt 1000000 ]; then
    mv -f "$log" "$log.1"
fi
said=$(mktemp) || exit 75
trap 'rm -f "$said"' EXIT

prodkit run "$PRODKIT_PROJECT/jobs/rich" >"$said" 2>&1
code=$?

{
    printf '%s exit code %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$code"
    cat "$said"
} >>"$log"
if [ "$code" -ne 0 ]; then
    printf '%s Exit code %s.\n' 'rich has failed. Ana Ruiz (https://pager.northwind.test/ana) answers for it.' "$code"
    cat "$said"
fi
exit "$code"
