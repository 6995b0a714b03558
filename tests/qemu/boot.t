#!/bin/sh
# SPDX-License-Identifier: MIT
# An image boots on QEMU, finds its memory and its command line, and its code is seen outside.
. tests/support/tap.sh
. tests/support/qemu.sh

qemu_run pleat-contract 'show=machine code=5'
is 'the code of the image is seen' "$qemu_code" 5
has 'the command line' "$console" '^# command line: show=machine code=5$'
has 'memory below 4 GiB is free' "$console" '^# span 0x[0-9a-f]+ to 0x[0-9a-f]+, node 0, free$'
has 'the image is reserved' "$console" '^# span 0x1000 to 0x[0-9a-f]+, node 0, reserved$'
done_testing
