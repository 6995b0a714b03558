#!/bin/sh
# SPDX-License-Identifier: MIT
# What docs/EMBEDDING.md says of text and data is what `make size` says now, to within a tenth.
. tests/support/tap.sh

out=$(make --no-print-directory size PACKAGES_CHECKED=1 2>&1)
is 'make size' $? 0
for part in core drivers/*; do
    now=$(printf '%s\n' "$out" | awk -v part=$part '$4 == part && $5 == "in" { print $1, $2, $3 }')
    said=$(awk -v part=$part '$4 == part && $5 == "in" { print $1, $2, $3 }' docs/EMBEDDING.md)
    ok "$part: now $now, said $said (scripts/documents --figures docs/EMBEDDING.md renews it)" \
        awk -v now="$now" -v said="$said" 'BEGIN {
            split(now, a); split(said, b)
            exit !(a[1] > 0.9 * b[1] && a[1] < 1.1 * b[1] && a[2] == b[2] && a[3] == b[3])
        }'
done
is 'no stack of what a port brings' "$(printf '%s\n' "$out" | grep -c '^ .* (ports/')" 0
has 'the stack was measured' "$out" '^ +[0-9]+  take and remove$'
done_testing
