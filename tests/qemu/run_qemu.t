#!/bin/sh
# SPDX-License-Identifier: MIT
# `make run-qemu`: Pleat's guest on a real QEMU, driven through a scenario by QMP; and `pleat run`, started by the
# same command line and taken through the same scenario.
. tests/support/tap.sh
. tests/support/machine.sh
build=${BUILD:-build}

# run NAME OPTION...: its output in $dir/NAME, its exit code in $code.
run() {
    name=$1
    shift
    code=0
    rm -f "$build/qemu.svg" "$build/qemu-machine.svg"
    timeout -k 5 110 scripts/run-qemu "$@" >"$dir/$name" 2>&1 </dev/null || code=$?
    [ $code -eq 0 ] || sed 's/^/# /' "$dir/$name" >&2
}
# after_boot NAME: what the monitor said of the devices and nodes then.
after_boot() {
    sed -n '/^Right after boot/,/^1\. /p' "$dir/$1"
}
# said TEXT: it was said by the machine on QEMU.
said() {
    has "$1" "$(cat "$dir/qemu")" "$2"
}

run qemu
is 'on QEMU: exit code' $code 0
ok 'there is a picture of it' test -s "$build/qemu.svg" -a -s "$build/qemu.png"
# drawn TEXT: the picture of the run on QEMU has this word in it.
drawn() {
    ok "$1 is in the picture" grep -qF -e ">$1<" "$build/qemu.svg"
}
for word in 'memory blocks, a row each' boot '8 blocks' 'not added' 'Normal' 'Normal, partly plugged' \
    'bar: holds unmovable' 'free in the guest' 'vm0 plugged' 'vm1 requested'; do
    drawn "$word"
done
is 'what the guest tells for the picture is not shown' "$(grep -c pleat-blocks "$dir/qemu")" 0
said 'the devices are QEMU'"'"'s' '^qemu-system-x86_64 -accel tcg'
said 'the workload ran' '[1-9][0-9]* allocations, [1-9][0-9]* frees'
said 'what it held was moved' '^virtio-mem .*: 64 MiB as requested after .* ms, .* requests?, [1-9][0-9]* frames moved'
said 'no content was lost' ' [1-9][0-9]* blocks checked, 0 wrong$'
said 'the guest is content' '^guest: ended, all is well$'
run machine --machine
is 'on pleat run: exit code' $code 0
ok 'there is a picture of that, too' test -s "$build/qemu-machine.svg" -a -s "$build/qemu-machine.png"
is 'the command lines are the same' "$(sed -n 's/^.*pleat run \(-.*\) \\$/\1/p' "$dir/machine")" \
    "$(sed -n 's/^qemu-system-x86_64 \(-.*\) \\$/\1/p' "$dir/qemu")"
is 'both say the same of their devices and nodes' "$(after_boot machine)" "$(after_boot qemu)"
has 'namely' "$(after_boot qemu)" '^node 1 plugged: 80 MB'
done_testing
