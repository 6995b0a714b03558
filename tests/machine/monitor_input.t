#!/bin/sh
# SPDX-License-Identifier: MIT
# How `pleat run` is driven without a terminal, and when it ends.
. tests/support/tap.sh
. tests/support/machine.sh
tiny() {
    limited "$pleat" run "$@"
}

has 'lines from a pipe are commands' "$(echo 'info status' | tiny)" '^VM status: running$'
is 'the last line needs no newline' "$(printf 'info status' | tiny | sed -n 2p)" 'VM status: running'
echo 'info status' >"$dir/commands"
is 'lines from a file too' "$(tiny <"$dir/commands" | sed -n 2p)" 'VM status: running'
is 'a transcript has the prompt and no escape codes' "$(echo 'info status' | tiny | sed -n 1p)" '(pleat) info status'
ok 'nothing to read is the end' tiny </dev/null
ok 'a closed stdin too' sh -c "timeout $patience $pleat run <&-"
is 'what comes after quit is not read' "$(printf 'quit\nhelp\n' | tiny | grep -c -- '--')" 0
printf 'nosuch\n' | tiny >"$dir/out"
is 'a refused command is no failure, as with QEMU' $? 0
has 'but is named' "$(cat "$dir/out")" "unknown command: 'nosuch'"
has 'a line that is too long' "$(head -c 100000 /dev/zero | tr '\0' x | tiny)" 'the line is too long'
has 'and the line after it is read' "$({ head -c 100000 /dev/zero | tr '\0' x; printf '\ninfo status\n'; } | tiny)" \
    'VM status: running'
ok 'bytes that are no text' sh -c "head -c 20000 /dev/urandom | timeout $patience $pleat run"
is 'a reader that goes away ends it' "$(yes 'info blocks' | tiny 2>/dev/null | head -n 1)" '(pleat) info blocks'

is '-duration ends it, and not before' \
    "$(tiny -duration 200ms </dev/null | awk '/^Ran for/ { print ($3 >= 0.2) }')" 1
is 'also on the virtual clock' "$(tiny -seed 1 -duration 5s </dev/null | grep -c '^Ran for 5.00 s')" 1
is '-monitor none reads nothing' "$(echo 'info status' | tiny -monitor none -duration 100ms | grep -c status)" 0
start stopped "$pleat" run -duration 600s
until_true heeds $pid 2
kill -INT $pid
until_over $pid
is 'SIGINT ends it with its summary' "$code $(grep -c '^Ran for' "$dir/stopped.out")" '0 1'

# The same seed and the same commands give the same run, byte for byte of the log.
for run in 1 2; do
    # shellcheck disable=SC2086
    printf 'qom-set vm1 requested-size 1G\nqom-set vm0 requested-size 64M\nqom-set vm1 requested-size 0\ninfo workload\n' |
        limited $two_nodes -seed 5 -workload synthetic,preset=20,fill=40% -duration 2s -log "$dir/log.$run" >"$dir/out.$run"
done
ok 'the same seed gives the same answers' cmp "$dir/out.1" "$dir/out.2"
ok 'and the same log' cmp "$dir/log.1" "$dir/log.2"
ok 'which says what happened' grep -q 'vm1: 1073741824 of 1073741824 bytes plugged' "$dir/log.1"

# What must not happen ends with 1 and is named.
out=$(tiny -seed 1 -workload synthetic,fill=50% -fault frame-torn:count=1 -duration 5s </dev/null 2>&1)
is 'a torn frame is a failure' $? 1
has 'and is named' "$out" '^pleat run: .*(torn|stamp|frame).*0x'
out=$(printf 'system_reset\ninfo status\n' | tiny -no-reboot)
is '-no-reboot: a reset is the end, and a good one' "$? $(printf '%s\n' "$out" | grep -c '^VM status')" '0 0'
echo 'wait 600s' >"$dir/long.scenario"
start scenario "$pleat" run -scenario "$dir/long.scenario"
until_true heeds $pid 15
kill -TERM $pid
until_over $pid
has 'SIGTERM ends a scenario, with the summary' "$(cat "$dir/scenario.out")" '^Ran for'
echo 'nosuch' >"$dir/wrong.scenario"
has 'a scenario that fails names its line' "$(tiny -scenario "$dir/wrong.scenario" 2>&1)" "wrong.scenario:1: .*unknown command: 'nosuch'"
tiny -scenario "$dir/wrong.scenario" >/dev/null 2>&1
is 'and exits with 1' $? 1
tiny -scenario "$dir/nosuch" </dev/null >"$dir/out" 2>&1
is 'one that is not there, too' $? 1

for wrong in '-nosuch' '-m' '-m 1Q' '-device nosuch' '-object nosuch,id=a' '-qmp nosuch' '-monitor nosuch' '-smp 0' 'word'; do
    # shellcheck disable=SC2086
    tiny $wrong </dev/null >"$dir/out" 2>&1
    is "wrong usage exits with 2: $wrong" $? 2
    has "and names it: $wrong" "$(cat "$dir/out")" "$(echo "$wrong" | awk '{ print $NF }' | tr -d - | cut -d, -f1)"
done
has 'an unknown option is refused by name' "$(tiny -nosuch 2>&1 </dev/null)" '^pleat run: .*-nosuch'
has 'a backend that is not there' "$(tiny -device virtio-mem-pci,id=a,memdev=m 2>&1 </dev/null)" "'m'"
help=$("$pleat" help run)
has 'the help page' "$help" '^  -device '
is 'is the same by --help' "$("$pleat" run --help)" "$help"
done_testing
