#!/bin/sh
# SPDX-License-Identifier: MIT
# `pleat drive` with QMP servers that say half of a message, too much, rubbish or nothing, describe devices that
# can't be, or go away: each ends in one line that says so, and an exit code, in time.
. tests/support/tap.sh
. tests/support/machine.sh
socket=$dir/qmp
ok 'the server that is a fake compiles' perl -c tests/support/fake_qmp.pl

# drive BEHAVIOUR CODE TEXT ARGUMENT...: the exit code and what is said when the server behaves so.
drive() {
    behaviour=$1 wanted=$2 pattern=$3
    shift 3
    rm -f "$socket"
    start server tests/support/fake_qmp.pl "$socket" "$behaviour"
    server=$pid
    until_true sh -c "test -S '$socket' || ! kill -0 $server"
    code=0
    limited "$pleat" drive --qmp "$socket" --timeout 1s "$@" >"$dir/out" 2>"$dir/err" </dev/null || code=$?
    kill "$server" 2>/dev/null
    wait "$server" 2>/dev/null
    is "$behaviour: exit code" "$code" "$wanted"
    has "$behaviour: says so" "$(cat "$dir/err" "$dir/out")" "$pattern"
    [ "$code" -eq 0 ] || is "$behaviour: in one line" "$(wc -l <"$dir/err")" 1
}

drive silent 1 "didn't greet .* within 1s" list
drive garbage 1 "sent what isn't QMP" list
drive half-greeting 1 'closed the connection in the middle of a message' list
drive no-version 1 'greeted without a version' list
drive answer-first 1 'this is no QMP socket' list
drive disconnect 1 'closed the connection$' list
drive half-answer 1 'closed the connection in the middle of a message' list
drive huge 1 "isn't QMP: JSON token size limit exceeded" list
drive deep 1 "isn't QMP: JSON nesting depth limit exceeded" list
drive not-json 1 "isn't QMP: '\{\"return\"" list
drive not-utf8 1 "isn't QMP: .*xc3" list
drive number 1 "isn't QMP: '42'" list
drive no-id 1 "answered what it wasn't asked" list
drive other-id 1 "answered what it wasn't asked" list
drive twice 1 "answered what it wasn't asked" resize vm0 256M
drive no-reason 1 'refused without a reason' list
drive neither 1 'neither an answer nor an event' list
drive escape 1 '^pleat drive: a\?\[2Jb\?\?c\?$' list
drive flood 1 "didn't answer query-memory-devices within 1s" list
drive no-answer 1 "didn't answer query-memory-devices within 1s" list
for impossible in no-list no-type negative text-size too-large no-block bad-id long-id many; do
    drive $impossible 1 "describes memory devices that can't be" list
done
drive too-big-integer 1 "isn't QMP" list
drive dimm 0 '^vm0 +0 +0 +256M +1G +2M +0x100000000 +mem0$' list
is 'of other memory devices nothing is shown' "$(wc -l <"$dir/out")" 2
drive nameless 0 '^\(no id\) ' list
drive nameless 1 'there is none with an id' resize vm0 256M

drive stalls 3 'vm0 stalled, no progress for 0.3s: wanted 256M, reached 128M' resize vm0 256M --stall 300ms
drive stalls 3 "vm0 didn't get there within 0.3s: wanted 256M, reached 128M" resize vm0 256M --deadline 300ms
drive creeps 3 "vm0 didn't get there within 2s: wanted 256M, reached" resize vm0 256M --deadline 2s --stall 1s
has 'creeps: a line for each change' "$(cat "$dir/out")" '  vm0 has 6M of 256M'
drive leaves 1 'vm0 went away' resize vm0 256M
drive somebody-else 1 'vm0: somebody else requested 2M, reached 0' resize vm0 256M
drive quits 1 'closed the connection$' resize vm0 256M
drive quits 1 'closed the connection$' watch
drive leaves 0 'vm0 is gone' watch --duration 1s

echo 'info status' >"$dir/scenario"
drive hmp-number 1 'scenario:1: the QMP server answered human-monitor-command without a text' run "$dir/scenario"
drive hmp-escape 0 '^\?\]0;title\?seen$' run "$dir/scenario"
printf 'wait-until 256M vm0 10s\n' >"$dir/scenario"
drive quits 1 'scenario:1: the QMP server closed the connection' run "$dir/scenario"
printf 'qom-set vm0 requested-size \377\n' >"$dir/scenario"
drive stalls 1 'scenario:1: expected UTF-8' run "$dir/scenario"

# nobody PATH TEXT: where no server is.
nobody() {
    code=0
    said=$(limited "$pleat" drive --qmp "$1" list 2>&1) || code=$?
    is "$3: exit code" $code 1
    has "$3: says so" "$said" "$2"
}
rm -f "$socket"
nobody "$socket" "can't be reached: no such file" 'no socket'
: >"$socket"
nobody "$socket" "can't be reached: connection refused" 'a file'
nobody "$dir/$(printf '%0120d' 0)" 'too long, it must be less than' 'a path that is too long'
done_testing
