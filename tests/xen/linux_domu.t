#!/bin/sh
# SPDX-License-Identifier: MIT
# Linux as a guest of real Xen, to be held against: its balloon follows `xl mem-set`, and how long that takes. It
# shows as well that what tests/xen/domu.t asks of Pleat's guest, the test bed and the toolstack do.
. tests/support/tap.sh
. tests/support/xen.sh

command -v qemu-system-x86_64 >/dev/null || {
    ok 'QEMU is there (package qemu-system-x86)' false
    done_testing
}
xen_guest linux 'kernel = "/guests/linux"' 'ramdisk = "/guests/linux.initramfs"' \
    'extra = "console=hvc0 quiet panic=-1 mitigations=off cryptomgr.notests"' 'memory = 256'
xen_start
ok 'xl create' in_dom0 'xl create /guests/linux.cfg'
ok 'Linux boots' guest_says linux '^linux: ready'

# Pages of the domain's that aren't the guest's own count, too.
extra=$(($(guest_kib linux) - 256 * 1024))
ok 'it has 256 MiB, and some pages more' test $extra -ge 0 -a $extra -lt 1024

# total TIME: what Linux itself thinks that it has, in KiB, asked for the TIMEth time. What it answered before
# stands on the same console.
total() {
    guest_type linux 'awk "/MemTotal/ { print \"total\", \$2 }" /proc/meminfo'
    in_dom0 "await 60 sh -c '[ \$(grep -c \"^linux: exit\" /var/log/xen/guest-linux.log) -ge $1 ]'" || return 1
    guest_console linux | sed -n 's/^total \([0-9]*\).*/\1/p' | tail -n 1
}
before=$(total 1)
for size in 160 256 160 256 160; do
    said=$(mem_set linux $size $extra)
    has "mem-set to $size MiB is reached" "$said" "wanted $((size * 1024 + extra)), .* reached [0-9.]+ s$"
    echo "# $said"
done
after=$(total 2)
is 'Linux has given away what it was asked for' $((before - after)) $((96 * 1024))
has 'the toolstack sees that size' "$(in_dom0 'xl list linux')" '^linux +[0-9]+ +160 '

ok 'xl shutdown' in_dom0 'xl shutdown linux'
ok 'Linux ends, and nothing of it is left' guest_is_gone linux
xen_end
done_testing
