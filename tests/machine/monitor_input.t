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
ok 'a closed stdin too' sh -c "timeout 60 $pleat run <&-"
is 'what comes after quit is not read' "$(printf 'quit\nhelp\n' | tiny | grep -c -- '--')" 0
printf 'nosuch\n' | tiny >"$dir/out"
is 'a refused command is no failure, as with QEMU' $? 0
has 'but is named' "$(cat "$dir/out")" "unknown command: 'nosuch'"
has 'a line that is too long' "$(head -c 100000 /dev/zero | tr '\0' x | tiny)" 'the line is too long'
has 'and the line after it is read' "$({ head -c 100000 /dev/zero | tr '\0' x; printf '\ninfo status\n'; } | tiny)" \
    'VM status: running'
ok 'bytes that are no text' sh -c "head -c 20000 /dev/urandom | timeout 60 $pleat run"
is 'a reader that goes away ends it' "$(yes 'info blocks' | tiny 2>/dev/null | head -n 1)" '(pleat) info blocks'

is '-duration ends it' "$(tiny -duration 200ms </dev/null | grep -c '^Ran for 0.2')" 1
is 'also on the virtual clock' "$(tiny -seed 1 -duration 5s </dev/null | grep -c '^Ran for 5.00 s')" 1
is '-monitor none reads nothing' "$(echo 'info status' | tiny -monitor none -duration 100ms | grep -c status)" 0
start stopped "$pleat" run -duration 30s
sleep 0.2
kill -INT $pid
until_over $pid
is 'SIGINT ends it with its summary' "$code $(grep -c '^Ran for' "$dir/stopped.out")" '0 1'

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
