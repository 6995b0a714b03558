#!/bin/sh
# SPDX-License-Identifier: MIT
# The guest image with more CPUs than fit into a machine word, all at work. By itself, because
# seventy emulated CPUs take two real ones long.
. tests/support/tap.sh
. tests/support/qemu.sh

qemu_start pleat-guest test=cpus -M q35 -cpu max -smp 70 -m 1G
qemu_end
is 'code' "$qemu_code" 0
is 'what failed' "$(printf '%s\n' "$console" | grep -E '^not ok|panic|content:')" ''
has 'it was run to its end' "$console" '^1\.\.[0-9]+$'
has 'all of them were there' "$console" ', 70 CPUs,'

done_testing
