#!/bin/sh
# SPDX-License-Identifier: MIT
# Each id of docs/CONFORMANCE.md is in the name of a test, and tests carry no other ids.
. tests/support/tap.sh

ids() { grep -oE '\b([VD]-[A-Z]+[0-9]+|X[0-9]+)\b' | sort -u; }
said=$(grep '^| [VDX]' docs/CONFORMANCE.md | cut -d'|' -f2 | ids)
# A test is a function of this form; one that is in no list of tests doesn't compile. From the first id of a name on,
# ids follow each other: D_OP6_D_OP7_a_system_reset_unplugs_all.
tested=$(grep -rhoE '^static void (([VD]_[A-Z]+[0-9]+|X[0-9]+)_)+' tests --include='*.c' |
    grep -oE '[VD]_[A-Z]+[0-9]+|X[0-9]+' | tr _ - | ids)
is 'every demand has a test' "$(printf '%s\n' "$said" | grep -vxF "$tested")" ''
is 'every id in the name of a test is known' "$(printf '%s\n' "$tested" | grep -vxF "$said")" ''
done_testing
