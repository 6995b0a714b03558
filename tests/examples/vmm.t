#!/bin/sh
# SPDX-License-Identifier: MIT
# The example VMM: what it prints, how long it is, and that it uses the device's state machine alone.
. tests/support/tap.sh
BUILD=${BUILD:-build}

out=$("$BUILD/examples/vmm")
is 'it ends well' $? 0
requests=$(printf '%s\n' "$out" | sed -n 's/^guest: \([A-Z_(]*[a-z)]*\) .*: \([A-Z]*\).*/\1 \2/p')
is 'the guest gets its answers' "$requests" "PLUG ACK
PLUG ACK
PLUG NACK
PLUG BUSY
PLUG ACK
PLUG ERROR
STATE ACK
UNPLUG ACK
UNPLUG ERROR
(unknown) ERROR"
has 'a driver that may touch unplugged memory is refused' "$out" 'without the promise: refused'
has 'STATE tells that a range is mixed' "$out" 'STATE .*: ACK, mixed'
has 'the books follow' "$out" '32 MiB of 32 MiB plugged: \[0, 8\) \[32, 56\)'
has 'a system reset unplugs all' "$out" '^vmm:   0 MiB of 8 MiB plugged:$'
is 'the guest is interrupted for each new size' "$(printf '%s\n' "$out" | grep -c interrupted)" 2

lines=$(wc -l <examples/vmm/vmm.c)
ok "it is shorter than 150 lines ($lines)" test "$lines" -lt 150
foreign=$(nm -u "$BUILD/obj/examples/vmm/vmm.o" | awk '{ print $2 }' | grep '^pleat_' |
    grep -v -e '^pleat_virtio_mem_device_' -e '^pleat_error_text$')
is 'it uses nothing else of Pleat' "$foreign" ''
done_testing
