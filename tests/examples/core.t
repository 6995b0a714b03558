#!/bin/sh
# SPDX-License-Identifier: MIT
# The examples that embed the core: how long the smallest is, what they print, and what metadata costs.
. tests/support/tap.sh
BUILD=${BUILD:-build}

is 'embed has forty lines' "$(wc -l <examples/embed/embed.c)" 40
out=$("$BUILD/examples/embed")
is 'embed ends well' $? 0
has 'embed has both halves online, less two memmaps of 66 frames' "$out" '^255 MiB are online'

out=$("$BUILD/examples/mover")
is 'mover ends well' $? 0
has 'the report names the pinned frame and its owner' "$out" '1 pinned, owner "buffers", the first is our pinned one'
has 'the second try succeeds' "$out" '^take: success'
has 'no content is lost' "$out" '^all 10000 buffers are intact'

out=$("$BUILD/examples/footprint")
is 'footprint ends well' $? 0
share=$(printf '%s\n' "$out" | awk '$1 == 4 && $3 == 8 { print ($(NF - 1) <= 0.21) }')
is 'metadata takes at most 0.21 % with 8 bytes of owner word a frame' "$share" 1
done_testing
