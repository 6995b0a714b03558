#!/bin/sh
# SPDX-License-Identifier: MIT
# QEMU's riscv64 machine: the port keeps what it promises, the core passes its own tests on it, and an exception says
# what it was and where. QEMU 7.2 offers no virtio-mem on this machine, so there is no driver to be tried.
. tests/support/tap.sh
. tests/support/qemu.sh

# passes NAME IMAGE ARGUMENTS OPTION...: every check of the image passes.
passes() {
    name=$1
    shift
    qemu_run_riscv64 "$@"
    is "$name: code" "$qemu_code" 0
    is "$name: what failed" "$(printf '%s\n' "$console" | grep -B1 -A1 '^not ok')" ''
    is "$name: what was left out" "$(printf '%s\n' "$console" | grep 'SKIP')" ''
    has "$name: it was run to its end" "$console" '^1\.\.[0-9]+$'
}

passes 'the port, boot memory' pleat-contract 'hold=128'
passes 'the port, memory that comes and goes' pleat-contract 'hold=128 memory=area'
passes 'the core' pleat-core 'hold=256 plugged=256'

qemu_run_riscv64 pleat-guest 'test=core,cpus' -m 512M
is 'the guest image: code' "$qemu_code" 0
is 'the guest image: what failed' "$(printf '%s\n' "$console" | grep -A1 '^not ok')" ''
has 'the guest image: it was run to its end' "$console" '^1\.\.[0-9]+$'
has 'the guest image: without a device it says so' "$console" '^guest: no virtio-mem device$'

qemu_run_riscv64 pleat-contract 'show=machine code=5' -smp 2 -m 512M -object memory-backend-ram,id=m0,size=256M \
    -object memory-backend-ram,id=m1,size=256M -numa node,memdev=m0,cpus=0 -numa node,memdev=m1,cpus=1
is 'two nodes: code' "$qemu_code" 5
has 'two nodes: the command line' "$console" '^# command line: show=machine code=5$'
has 'two nodes: the image is reserved' "$console" '^# span 0x80000 to 0x80[0-9a-f]{3}, node 0, reserved$'
has 'two nodes: node 0 has memory' "$console" '^# span 0x80[0-9a-f]{3} to 0x90000, node 0, free$'
has 'two nodes: node 1 has memory' "$console" '^# span 0x90000 to 0x[0-9a-f]{5}, node 1, free$'

# fault NAME PATTERN...: fault=NAME ends the machine, and a line of the console matches each pattern.
fault() {
    name=$1
    shift
    qemu_run_riscv64 pleat-contract "hold=128 fault=$name" -m 512M
    is "$name: code" "$qemu_code" 99
    for pattern; do
        has "$name: $pattern" "$console" "$pattern"
    done
}

load='^exception 13 \(load page fault\) at PC 0x800[0-9a-f]{5}$'
store='^exception 15 \(store page fault\) at PC 0x800[0-9a-f]{5}$'
fault read-unmapped "$load" '^  at 0xffffffc098000000: frame 0x98000, which is not mapped$' \
    '^  x1  [0-9a-f]{16} x2  [0-9a-f]{16} x3  [0-9a-f]{16}$' '^  x31 [0-9a-f]{16}$'
fault write-unmapped "$store" '^  at 0xffffffc098000005: frame 0x98000, which is not mapped$'
fault write-after-unmap "$store" '^  at 0xffffffc098000000: frame 0x98000, which is not mapped$'
fault read-null "$load" '^  at 0x8: a null pointer$'
fault write-constant "$store"
fault write-code "$store"
fault run-data '^exception 12 \(instruction page fault\) at PC 0x80[0-9a-f]{6}$'
fault stack "$store" ': the end of the stack$'
fault trap '^exception 3 \(breakpoint\) at PC 0x800[0-9a-f]{5}$'
fault fatal '^fatal: as asked$'

# damaged PERL: boots with the device tree that QEMU makes, after this has been done to it.
damaged() {
    timeout -k 5 20 qemu-system-riscv64 -M "virt,dumpdtb=$dir/tree" -m 512M -display none >"$dir/dump" 2>&1
    perl -0777 -pi -e "$1" "$dir/tree"
    qemu_run_riscv64 pleat-contract 'code=7' -m 512M -dtb "$dir/tree"
}

damaged ''
is 'a tree from a file: code' "$qemu_code" 7
damaged 's/memory\0/nemory\0/'
is 'no memory: code' "$qemu_code" 99
has 'no memory: it says so' "$console" '^boot: the device tree at 0x[0-9a-f]+ names no memory$'
damaged 's/timebase-frequency\0/timebase-thatsall!\0/'
is 'no clock: code' "$qemu_code" 7
has 'no clock: it says so' "$console" "^boot: the device tree doesn't say how fast the clock is, 10 MHz are taken for it$"
done_testing
