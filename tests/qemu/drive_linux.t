#!/bin/sh
# SPDX-License-Identifier: MIT
# `pleat drive` on a Linux guest of QEMU, under software emulation: devices are listed, grown and shrunk.
. tests/support/tap.sh
. tests/support/machine.sh
. tests/support/linux_guest.sh

guest -smp 2 -m 1G,maxmem=8G -object memory-backend-memfd,id=mem0,size=4G,reserve=off \
    -device virtio-mem-pci,id=vm0,memdev=mem0,requested-size=0
drive list
has 'list' "$(cat "$dir/out")" '^vm0 +0 +0 +0 +4G +2M +0x100000000 +mem0$'
before=$(in_guest "awk '/MemTotal/ { print \$2 }' /proc/meminfo")
drive resize vm0 256M --deadline 30s
is 'grow: exit code' "$code/$(cat "$dir/err")" 0/
has 'grow: how long it took' "$(cat "$dir/out")" '^vm0 has 256M after [0-9.]+ s$'
# What the guest sees of it is for it to say; its metadata is in there.
grown=$(in_guest "awk '/MemTotal/ { print \$2 }' /proc/meminfo")
ok 'the guest has so much more' test $((grown - before)) -gt 240000 -a $((grown - before)) -le 262144
drive resize vm0 0 --deadline 60s --picture "$dir/shrink"
is 'shrink: exit code' "$code/$(cat "$dir/err")" 0/
has 'shrink: all of it' "$(cat "$dir/out")" '^vm0 has 0 after [0-9.]+ s$'
is 'the guest has what it had' "$(in_guest "awk '/MemTotal/ { print \$2 }' /proc/meminfo")" "$before"
ok 'there is a picture of it' test -s "$dir/shrink.svg" -a -s "$dir/shrink.png"
drive resize vm0 1000
has 'what QEMU refuses is told in its words' "$(cat "$dir/err")" "has to be multiples of 'block-size'"

# This takes Linux seconds.
drive resize vm0 1G --deadline 30s
drive resize vm0 0 --deadline 200ms
is 'a shrink that misses its deadline: exit code' "$code" 3
has 'and how far it came' "$(cat "$dir/err")" \
    "vm0 didn't get there within 0.2s: wanted 0, reached [0-9]+[MG]"
# Nobody answers without a driver.
drive resize vm0 0 --deadline 60s
in_guest 'rmmod virtio_mem' >/dev/null
drive resize vm0 64M --stall 500ms
is 'a guest without a driver: exit code' "$code" 3
has 'and that it stalled' "$(cat "$dir/err")" '^pleat drive: vm0 stalled, no progress for 0.5s: wanted 64M, reached 0$'
cat >"$dir/scenario" <<'END'
info blocks
expect Memory blocks
guest pin memory40 600
info memory-devices
expect Memory device [virtio-mem]: "vm0"
fold
expect-error unknown command
END
drive run "$dir/scenario"
is 'a scenario with words of Pleat: exit code' "$code/$(cat "$dir/err")" 0/
has 'they are passed over by name' "$(cat "$dir/out")" '^not available over QMP from QEMU .*, passed over: info blocks$'
off
done_testing
