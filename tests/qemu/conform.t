#!/bin/sh
# SPDX-License-Identifier: MIT
# The conformance image on QEMU: what it finds is what is written down, with a host and without, with one device,
# several and none.
. tests/support/tap.sh
. tests/support/qemu.sh

# What differs from run to run, or with the package's version.
same() { sed -E 's/^# in [0-9]+ looks$/# in N looks/; s/^(# QEMU: [0-9]+\.[0-9]+).*/\1/'; }

# compare NAME ARGUMENT...: a fresh run against conform/results/NAME.tap.
compare() {
    name=$1
    shift
    BUILD=$build scripts/conform --seconds 100 "$@" >"$dir/$name.tap" 2>"$dir/err"
    code=$?
    if grep -q '^# QEMU: 7\.2' "$dir/$name.tap"; then
        is "$name: as written down" "$(same <"$dir/$name.tap")" "$(same <conform/results/$name.tap)"
        is "$name: the exit code says that something failed" $code 1
    else
        has "$name: all have a result, on a QEMU that nothing is written down of" "$(cat "$dir/$name.tap")" '^1\.\.[0-9]+$'
    fi
}
compare qemu-7.2
compare qemu-7.2-inaccessible-packed unplugged-inaccessible=on packed=on ring=packed

is 'docs/CONFORMANCE-RESULTS.md is made of what is written down' "$(scripts/conform-results)" \
    "$(cat docs/CONFORMANCE-RESULTS.md)"

# How many checks a device gets.
checks=$(sed -n 's/^1\.\.//p' "$dir/qemu-7.2.tap")
checks=${checks:-0}

# Every id of the device that a guest can see.
ids() { grep -oE '\b(D-[A-Z]+[0-9]+|X[0-9]+)\b' | sort -u; }
wanted=$({ sed -n 's/^| \(D-[^|]*\)|.*/\1/p' docs/CONFORMANCE.md; echo X1 X4 X5 X9 X11; } | ids)
is 'every id has a check' "$(printf '%s\n' "$wanted" | grep -vxF "$(grep -E '^(not )?ok' "$dir/qemu-7.2.tap" | ids)")" ''

# Nobody answers, and the size that is requested stays: nothing waits, and what needs a host says so.
backend() { echo "-object memory-backend-ram,id=$1,size=256M,reserve=off -device virtio-mem-pci,id=v$1,memdev=$1,node=0"; }
machine='-M q35 -cpu max -m 512M,maxmem=4G -object memory-backend-ram,id=boot,size=512M -numa node,memdev=boot'
qemu_run pleat-conform '' $machine $(backend m0),requested-size=32M
# QEMU itself says on its standard error what it breaks the queue for.
has 'without a host: something fails as with one' "$qemu_code" '^(1|qemu 3: .*protocol violation.*)$'
has 'without a host: D-CFG9 says why it is skipped' "$console" '^ok [0-9]+ - D-CFG9 .* # SKIP there is no host to ask'
has 'without a host: D-OP7 says why it is skipped' "$console" '^ok [0-9]+ - D-OP6 D-OP7 .* # SKIP there is nobody'
has 'without a host: D-PLUG4 passes' "$console" '^ok [0-9]+ - D-PLUG4 '
has 'without a host: the end is reached' "$console" "^1\.\.$checks\$"

qemu_run pleat-conform '' $machine $(backend m0),requested-size=32M $(backend m1),requested-size=0
has 'two devices: the second is numbered on' "$console" "^ok $((checks + 2)) - D-CFG5 "
has 'two devices: one without anything requested says so' "$console" '^ok [0-9]+ - D-PLUG4 .* # SKIP needs 8 blocks'
has 'two devices: there, a sum of nothing is no proof' "$console" '^ok [0-9]+ - D-CFG3 .* # SKIP nothing could be plugged'
has 'two devices: the end is reached' "$console" "^1\.\.$((2 * checks))\$"

qemu_run pleat-conform '' $machine
is 'no device: the exit code says so' "$qemu_code" 2
has 'no device: so does the console' "$console" '^1\.\.0 # SKIP no virtio-mem device$'

# A region that is too small for most of the checks.
console=$(BUILD=$build scripts/conform block-size=256M 2>"$dir/err")
has 'four blocks: what needs more says so' "$console" '^ok [0-9]+ - D-PLUG4 .* # SKIP needs 8 blocks; the region has 4$'
has 'four blocks: what needs none runs' "$console" '^ok [0-9]+ - D-CFG5 [^#]*$'
has 'four blocks: the end is reached' "$console" "^1\\.\\.$checks\$"

# One check alone.
console=$(BUILD=$build scripts/conform only=X11)
has 'only=X11: it runs' "$console" '^ok 2 - X11 '
is 'only=X11: alone' "$(printf '%s\n' "$console" | grep -c '^ok')" 3
done_testing
