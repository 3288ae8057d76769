#!/usr/bin/env bash
# Ask why a log ends in an error, and act on how the run ended. For cron, a deploy hook, or a pipeline.
#   ask.sh LOG          the answer on stdout, what went wrong on stderr; exit codes: 0 answered, 75 try later,
#                       78 somebody must change the set-up, 1 no answer, 128 and more stopped
set -euo pipefail

log=${1:?the log to read: ask.sh LOG}
say() { printf 'ask.sh: %s\n' "$*" >&2; }

code=0
answer=$(
    agentctl run --read-only --max-cost-per-task "${ASK_MOST_USD:-0.10}" --timeout 5m --input "$log" --quiet \
        "Why does this log end in an error? Name the line that shows it."
) || code=$?

case $code in
0)
    printf '%s\n' "$answer"
    ;;
1)
    say "no answer: the model gave up, or took too many turns"
    exit 1
    ;;
2 | 7 | 69 | 77)
    say "the set-up is wrong: a flag or setting (2), a log that does not fit (7), an unknown model (69), a key (77); it ended with $code"
    exit 78
    ;;
3)
    say "a limit was reached; what is spent: agentctl costs --today"
    exit 75
    ;;
4 | 75 | 124)
    say "the provider is down (4) or busy (75), or the time is up (124); it ended with $code"
    exit 75
    ;;
5 | 6)
    say "it needed what it may not do (5), or a sandbox that is not here (6); it ended with $code"
    exit 78
    ;;
70 | 74)
    say "agentctl itself failed (70), or its ledger or disk did (74): agentctl doctor"
    exit 1
    ;;
129 | 130 | 131 | 141 | 143)
    say "stopped"
    exit "$code"
    ;;
*)
    say "agentctl did not start, or was killed: it ended with $code"
    exit "$code"
    ;;
esac
