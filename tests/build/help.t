#!/bin/sh
# SPDX-License-Identifier: MIT
# `make help` names the targets that there are.
. tests/support/tap.sh

out=$(make --no-print-directory help 2>/dev/null)
named=$(printf '%s\n' "$out" | awk '/^Targets/ { on = 1; next } /^$/ { on = 0 } on && /^  [a-z]/ { print $1 }')
for target in all run test bench check install help; do
    has "help names $target" "$named" "^$target\$"
done
for target in $named; do
    ok "there is a target $target" grep -q "^$target:" Makefile images/build.mk
done
done_testing
