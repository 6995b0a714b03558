#!/bin/sh
# SPDX-License-Identifier: MIT
# `pleat drive` on the machine of `pleat run`: list, resize, watch, scenarios, pictures, and what isn't asked
# properly.
. tests/support/tap.sh
. tests/support/machine.sh
socket=$dir/qmp

# drive ARGUMENT...: its output in $dir/out and $dir/err, its exit code in $code.
drive() {
    code=0
    limited "$pleat" drive --qmp "$socket" "$@" >"$dir/out" 2>"$dir/err" </dev/null || code=$?
}
# machine OPTION...: the machine of these options, with QMP.
machine() {
    rm -f "$socket"
    # shellcheck disable=SC2086
    start machine "$@" -qmp unix:"$socket",server=on,wait=off
    machine=$pid
    until_true test -S "$socket"
}

# wrong TEXT ARGUMENT...: exit code 2, and what was expected. Nothing is connected to.
wrong() {
    text=$1
    shift
    code=0
    limited "$pleat" drive "$@" >"$dir/out" 2>"$dir/err" </dev/null || code=$?
    is "wrong usage: $*" "$code" 2
    has "wrong usage: $*: says so" "$(cat "$dir/err")" "$text"
}
wrong 'expected list, resize, watch or run'
wrong "unknown action 'fold'" --qmp "$socket" fold
wrong 'expected --qmp SOCKET' list
wrong 'expected --qmp SOCKET' --qmp unix: list
wrong 'resize: expected DEVICE and SIZE after it, found 1 words' --qmp "$socket" resize vm0
wrong "SIZE expects a size .*, found '1Q'" --qmp "$socket" resize vm0 1Q
wrong "unknown option '--fold'" --qmp "$socket" list --fold
wrong "'--qmp' needs a value" list --qmp
wrong '\-\-deadline expects' --qmp "$socket" resize vm0 1G --deadline soon
wrong '\-\-stall expects more than nothing, or off' --qmp "$socket" resize vm0 1G --stall 0
wrong "'--guest-console' needs a value" list --guest-console
echo 'wait-until' >"$dir/scenario"
wrong 'scenario:1: expected wait-until SIZE DEVICE' --qmp "$socket" run "$dir/scenario"
has 'help' "$("$pleat" drive --help)" '^Usage: pleat drive --qmp SOCKET list'

# shellcheck disable=SC2086
machine $two_nodes
drive resize vm1 128M
drive list
has 'list' "$(cat "$dir/out")" '^vm0 +0 +128M +128M +8G +2M +0x140000000 +mem0$'
is 'list: nothing else' "$(wc -l <"$dir/out")/$(wc -l <"$dir/err")/$code" 3/0/0
drive list --json
is 'list as JSON' "$(jq -cS '.[1]' "$dir/out")" \
    '{"address":13958643712,"backend":"mem1","block-bytes":2097152,"device":"vm1","maximum-bytes":8589934592,"node":1,"requested-bytes":134217728,"size-bytes":134217728}'
code=0
limited "$pleat" drive --qmp unix:"$socket" list >/dev/null || code=$?
is 'the socket as QEMU has it' $code 0

start watch "$pleat" drive --qmp "$socket" watch --picture "$dir/watched"
watch=$pid
until_true grep -q 'vm1 has 128M of 128M' "$dir/watch.out"
drive resize vm1 1G --deadline 20s
is 'grow: exit code' $code 0
has 'grow: what it does' "$(cat "$dir/out")" '^vm1 has 128M, grows to 1G$'
has 'grow: progress' "$(cat "$dir/out")" '^ +[0-9.]+ s  vm1 has 1G of 1G$'
has 'grow: how long it took' "$(cat "$dir/out")" '^vm1 has 1G after [0-9.]+ s$'
has 'and it is so' "$(drive list && cat "$dir/out")" '^vm1 .* 1G +1G '
until_true grep -q 'vm1 has .* of 1G' "$dir/watch.out"
drive resize vm1 64M
has 'shrink' "$(cat "$dir/out")" '^vm1 has 1G, shrinks to 64M$'
has 'shrink: all of it' "$(cat "$dir/out")" '^vm1 has 64M after'
drive resize vm1 64M
is 'a size that it has' "$(head -n 1 "$dir/out")/$code" 'vm1 has 64M, is set to 64M/0'
drive resize vm0 1M
is 'a size that is refused' "$(cat "$dir/err")/$code" \
    "pleat drive: 'requested-size' has to be multiples of 'block-size' (0x200000)/1"
drive resize vm7 1M
is 'a device that is not there' "$(cat "$dir/err")/$code" \
    "pleat drive: no virtio-mem device 'vm7', expected one of: vm0, vm1/1"
until_true grep -q 'vm1 has 64M of 64M' "$dir/watch.out"
kill -INT "$watch"
until_over "$watch"
is 'watch ends by a signal, which is no failure' $code 0
has 'watch has seen what was asked' "$(cat "$dir/watch.out")" ' s  vm1 has .* of 1G$'
ok 'and has drawn it' test -s "$dir/watched.svg" -a -s "$dir/watched.png"
drive list --guest-console "$dir/nowhere"
is 'a console that is not there' "$(cat "$dir/err")/$code" \
    "pleat drive: $dir/nowhere: the guest's console can't be opened: No such file or directory/1"
drive list --guest-console "$dir"
is 'a console that is none' "$(cat "$dir/err")/$code" \
    "pleat drive: $dir: expected a file, a pipe or a terminal for the guest's console/1"
drive watch --duration 200ms
is 'watch for a time' "$(wc -l <"$dir/out")/$code" 2/0

cat >"$dir/scenario" <<'END'
# Words of QEMU's and of Pleat's own.
info blocks
expect Memory blocks
guest pin memory40 600
qom-set vm0 requested-size 0
wait-settled 20s
info driver vm0
expect 600 frames unmovable
wait 200ms
qom-set vm0 requested-size 1000
expect-error multiples
fold
expect-error unknown command
info memory-devices extra
expect-error extraneous
picture here
echo done
END
code=0
(cd "$dir" && limited "$OLDPWD/$pleat" drive --qmp "$socket" run scenario --picture there >out 2>err </dev/null) || code=$?
is 'a scenario with words of Pleat: exit code' "$code/$(cat "$dir/err")" 0/
has 'what is said in it' "$(cat "$dir/out")" '^done$'
ok 'its pictures are where it was run' test -s "$dir/here.svg" -a -s "$dir/there.png"
has 'they show the memory blocks, which Pleat tells' "$(cat "$dir/there.svg")" 'boot'
drive resize vm0 64M --stall 5s
drive resize vm0 0 --stall 500ms
is 'a shrink that frames are in the way of' "$(cat "$dir/err")/$code" \
    'pleat drive: vm0 stalled, no progress for 0.5s: wanted 0, reached 6M/3'
drive resize vm0 0 --stall off --deadline 500ms --picture "$dir/stalled"
is 'and a deadline' "$(cat "$dir/err")/$code" \
    "pleat drive: vm0 didn't get there within 0.5s: wanted 0, reached 6M/3"
ok 'what was seen until then is drawn' test -s "$dir/stalled.svg"
echo 'wait-until 1G vm0 300ms' >"$dir/scenario"
drive run "$dir/scenario"
has 'a scenario that fails: where, what was wanted, what was found' "$(cat "$dir/err")" \
    'scenario:1: expected vm0 to have 1G within 0.3s, found 6M'
is 'and its exit code' "$code" 1
echo 'wait-until 1G vm7 300ms' >"$dir/scenario"
drive run "$dir/scenario"
has 'a scenario of a device that is not there' "$(cat "$dir/err")" "scenario:1: no virtio-mem device 'vm7'"
echo 'quit' >"$dir/scenario"
drive run "$dir/scenario"
is 'a scenario may end the machine' "$code/$(cat "$dir/err")" 0/
until_over "$machine"

# The scenarios of the machine itself, in the machines that they name; but for those that wait for time-outs, which take
# long where time isn't virtual, and those of a balloon, which is no device whose size is asked for over QMP.
for scenario in tests/scenarios/*.scenario; do
    name=$(basename "$scenario" .scenario)
    case $name in pleat-faults | pleat-restart | pleat-xen-*) continue ;; esac
    # shellcheck disable=SC2046
    machine "$pleat" run $(sed -n 's/^# machine: //p' "$scenario")
    drive run "$scenario"
    is "$name" "$code/$(cat "$dir/err")" 0/
    kill "$machine"
    until_over "$machine"
done
done_testing
