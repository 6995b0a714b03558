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

# ---- the guest's console ----

console=$dir/console
size='pleat-blocks: size 134217728 boot 2'
# tells NAME CODE TEXT LINE...: what becomes of a console with these lines. The device has its eight blocks from
# 0x100000000 on, 128 MiB of them plugged.
tells() {
    name=$1 wanted=$2 pattern=$3
    shift 3
    printf '%b\n' "$@" >"$console"
    rm -f "$dir/picture.svg"
    drive stalls "$wanted" "$pattern" watch --duration 200ms --picture "$dir/picture" --guest-console "$console"
    has "$name: the machine was driven to its end" "$(cat "$dir/out")" 'picture.svg and .*picture.png show it'
}
# drawn NAME TEXT, not_drawn NAME TEXT: it is in the picture, or isn't.
drawn() {
    ok "$1: $2 is drawn" grep -qF -e "$2" "$dir/picture.svg"
}
not_drawn() {
    ok "$1: $2 is not drawn" sh -c '! grep -qF -e "$1" "$2"' - "$2" "$dir/picture.svg"
}

tells 'a guest that tells its blocks' 0 'vm0 has 128M of 256M' 'SeaBIOS' "$size" 'pleat-blocks: 0x0 N*M' \
    'pleat-blocks: 0x100000000 m' 'pleat-blocks: 0x4000000000 N' 'pleat-blocks: free 1048576' 'pleat-blo'
for word in '>boot<' '>2 blocks<' '>Normal<' '>Movable<' '>Movable, partly plugged<' '>bar: holds unmovable<' \
    '>free in the guest<' 'as told by the guest on its console'; do
    drawn 'a guest that tells its blocks' "$word"
done
tells 'a guest that tells nothing' 0 'vm0 has 128M of 256M' 'Linux version 6.1' ''
drawn 'a guest that tells nothing' 'the guest tells no memory blocks'
not_drawn 'a guest that tells nothing' '>boot<'
drive stalls 0 'show it' list --picture "$dir/picture"
drawn 'without a console' 'a map of memory blocks needs the guest’s console'
not_drawn 'without a console' '>boot<'
tells 'a letter that there is not' 1 "^pleat drive: $console:4: pleat-blocks: expected the letters .*, found 'x'\$" \
    "$size" 'pleat-blocks: 0x0 N' '' 'pleat-blocks: 0x0 Nx'
drawn 'a letter that there is not' '>boot<'
drawn 'a letter that there is not' 'console:4: '
tells 'no size' 1 "$console:1: pleat-blocks: expected the size first" 'pleat-blocks: 0x0 N'
not_drawn 'no size' '>boot<'
tells 'an address of no block' 1 "$console:2: .* expected size, free, or the address of a block" "$size" \
    'pleat-blocks: 0x1 N'
tells 'an escape' 1 "$console:2: .*found '.x1b.2J'" "$size" 'pleat-blocks: 0x0 \033[2J'
tells 'a zero byte' 1 "$console:2: .*expected text" "$size" 'pleat-blocks: 0x0 N\000N'
tells 'too long' 1 "$console:2: .*expected at most 256 bytes" "$size" "pleat-blocks: 0x0 $(printf '%0300d' 0)"
echo 'pleat-blocks: size 2097152 boot 16384' >"$console"
drive vast 1 'vm0: more memory blocks than the 32768' list --guest-console "$console"
tells 'another size' 1 "$console:2: .*that were told before" "$size" 'pleat-blocks: size 134217728 boot 3'
drive stalls 0 'vm0 has 128M' watch --duration 200ms --guest-console /dev/zero

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
