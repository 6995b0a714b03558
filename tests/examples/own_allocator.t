#!/bin/sh
# SPDX-License-Identifier: MIT
# The virtio-mem driver over an allocator that isn't Pleat's, and over one that only grows.
. tests/support/tap.sh
BUILD=${BUILD:-build}

out=$("$BUILD/examples/own-allocator")
is 'it ends well, with every frame as it was written' $? 0
has 'it grows' "$out" '^host wants 48 MiB: plugged 49152 KiB, free  7288 frames; as requested'
has 'the floor stops a shrink' "$out" \
    '^host wants 12 MiB: plugged 21248 KiB.* the guest would have less than 1 MiB free$'
has 'frames in use stop it, and it says which and whose' "$out" \
    '^host wants  2 MiB: .* 10 frames unmovable, first at PFN 0x100000, owner "somebody"$'
has 'it shrinks' "$out" '^host wants  2 MiB: plugged  2048 KiB, free   512 frames; as requested'
has 'it grows again' "$out" '^host wants 16 MiB: plugged 16384 KiB, free  4096 frames; as requested'

out=$("$BUILD/examples/own-allocator" plug-only)
is 'the one that only grows ends well too' $? 0
has 'it grows as well' "$out" '^host wants 48 MiB: plugged 49152 KiB, free  7288 frames; as requested'
has 'and says why it does not shrink' "$out" "^host wants 12 MiB: .*: this guest can't take memory back$"

"$BUILD/examples/own-allocator" sideways 2>/dev/null
is 'another argument is a mistake in usage' $? 2

# All that it takes from the guest's side is the driver: nothing of the core.
foreign=$(nm -u "$BUILD"/obj/examples/own-allocator/*.o | awk '{ print $2 }' | grep '^pleat_' |
    grep -v '^pleat_virtio_' | sort -u)
is 'it uses nothing of the core' "$foreign" ''
done_testing
