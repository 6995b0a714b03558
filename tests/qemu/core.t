#!/bin/sh
# SPDX-License-Identifier: MIT
# The core passes its own tests on a bare x86-64 machine, on memory that comes and goes too.
. tests/support/tap.sh
. tests/support/qemu.sh

qemu_run pleat-core 'plugged=256' -M q35 -cpu max -m 1G,slots=1,maxmem=8G \
    -object memory-backend-ram,id=ram1,size=256M -device pc-dimm,memdev=ram1
is 'code' "$qemu_code" 0
is 'what failed' "$(printf '%s\n' "$console" | grep -B1 -A1 '^not ok')" ''
is 'what was left out' "$(printf '%s\n' "$console" | grep 'SKIP')" ''
has 'it was run to its end' "$console" '^1\.\.[0-9]+$'
done_testing
