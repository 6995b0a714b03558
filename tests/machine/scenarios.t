#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs every scenario of tests/scenarios in a deterministic machine, twice: a scenario passes, and passes in the
# same way with the same seed, byte for byte of the log. Lines `# machine: OPTIONS` in a scenario say in which
# machine. Those that aren't named pleat-... use QEMU's words only, so that a real QEMU can be driven by them.
# Of some the log is kept, in tests/machine/golden: what was asked, done, said and when, as a whole. Where it may
# change, RENEW=1 writes it anew.
. tests/support/tap.sh
pleat=${BUILD:-build}/pleat
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

# once SCENARIO NUMBER: one run, with the same seed each time.
once() {
    # shellcheck disable=SC2046
    timeout -k 5 60 "$pleat" run $(sed -n 's/^# machine: //p' "$1") -seed 7 -log "$dir/log$2" -scenario "$1" \
        </dev/null
}

# plain SCENARIO: true if no line begins with a word that QEMU doesn't know.
plain() {
    ! grep -E '^(guest|fault_|wait-settled|picture|info (blocks|zones|ranges|workload|driver|obstacles|faults))' "$1"
}

# kept NAME: the log is as it was; how much memory the core's tables take is left out.
kept() {
    sed 's/boots with .*/boots/' "$dir/log1" >"$dir/log"
    [ "${RENEW:-}" != 1 ] || cp "$dir/log" "$1"
    diff -u "$1" "$dir/log"
}

for scenario in tests/scenarios/*.scenario; do
    name=$(basename "$scenario" .scenario)
    ok "$name" once "$scenario" 1
    once "$scenario" 2 >/dev/null 2>&1
    ok "$name: the same seed gives the same log" cmp "$dir/log1" "$dir/log2"
    golden=tests/machine/golden/$name.log
    [ ! -f "$golden" ] || ok "$name: its log is the one that is kept" kept "$golden"
    case $name in
    pleat-*) ;;
    *) ok "$name: no words but those of QEMU" plain "$scenario" ;;
    esac
done
done_testing
