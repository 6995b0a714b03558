#!/bin/sh
# SPDX-License-Identifier: MIT
# Pleat's guest is the initial domain (PVH dom0) of real Xen, and Xen does with memory, events and grants what drivers
# rely on.
#
# What counts as success: QEMU ends by isa-debug-exit, with the image's code 0 (QEMU's exit code 1) and without a word
# of its own, and the image's TAP is complete. Xen's own end, and a dom0 that crashes, end QEMU with 0.
. tests/support/tap.sh
. tests/support/qemu.sh

scripts/xen-packages xen-hypervisor-4.17-amd64 || {
    ok 'Xen can be downloaded' false
    done_testing
}

# in_dom0 IMAGE ARGUMENTS: every test of the image passes.
in_dom0() {
    qemu_run_dom0 "$1" "$2"
    is "$*: code" "$qemu_code" 0
    is "$*: what failed" "$(printf '%s\n' "$console" | grep -B1 -A1 '^not ok')" ''
    is "$*: what was left out" "$(printf '%s\n' "$console" | grep 'SKIP')" ''
    is "$*: it was run to its end" "$(printf '%s\n' "$console" | grep -c '^ok ')" \
        "$(printf '%s\n' "$console" | sed -n 's/^1\.\.\([0-9]*\)$/\1/p')"
}

in_dom0 pleat-contract ''
in_dom0 pleat-guest test=core
has 'it is Xen, without a store' "$console" '^xen: 4\.17, the initial domain, 2048 grants, no store$'
has 'its memory is what Xen was told' "$console" '^guest: x86_64, 1 CPU, 1 node, 12[78] MiB, '
has 'that CPUs are unknown is said' "$console" '^cpus: firmware names none: this one is all there is$'
in_dom0 pleat-guest test=xen-memory
has 'Xen refuses what is over the maximum' "$console" '^\(XEN\) .*Over-allocation for d0: '
in_dom0 pleat-guest test=xen-events
in_dom0 pleat-guest test=xen-grants

# ---- the drivers ----

in_dom0 pleat-guest 'test=xen-balloon policy=offline'
has 'what the balloon did is said' "$console" \
    '^balloon: target 96 MiB reached after [0-9.]+ ms: 96 MiB populated, [1-9][0-9]* hypercalls? of order 9, '
in_dom0 pleat-guest 'test=xen-balloon policy=online_movable'
in_dom0 pleat-guest test=xen-unpopulated
has 'foreign pages cost no memory' "$console" '^ok [0-9]+ - 0 frames of RAM were used$'
in_dom0 pleat-guest 'test=xen-unpopulated unpopulated=off'
has 'the fall-back says what it does' "$console" "^grants: foreign pages go where the guest's memory was: "
has 'it costs as much memory as is mapped' "$console" '^ok [0-9]+ - 1024 frames of RAM were ballooned out'

qemu_run_dom0 pleat-guest test=nothing
is 'another code of the image is seen' "$qemu_code" 2
qemu_run_dom0 pleat-contract fault=trap
is 'an exception is seen' "$qemu_code" 99
has 'an exception is named' "$console" '^exception 6 \(invalid opcode\)'
done_testing
