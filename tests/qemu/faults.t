#!/bin/sh
# SPDX-License-Identifier: MIT
# An exception that nobody handles says what it was and where, and ends the machine with a code that tests see.
. tests/support/tap.sh
. tests/support/qemu.sh

# fault NAME PATTERN...: fault=NAME ends the machine, and a line of the console matches each pattern.
fault() {
    name=$1
    shift
    qemu_run pleat-contract "fault=$name" $qemu_dimm -smp 3
    is "$name: code" "$qemu_code" 99
    for pattern; do
        has "$name: $pattern" "$console" "$pattern"
    done
}

registers='^  RAX [0-9a-f]{16} RBX [0-9a-f]{16} RCX [0-9a-f]{16} RDX [0-9a-f]{16}$'
page_fault='^exception 14 \(page fault\), error code 0x[0-9a-f]+, on CPU 0 at RIP 0x1[0-9a-f]{6}$'
fault read-unmapped "$page_fault" '^  it reads 0xffff800100000000: frame 0x100000, which is not mapped$' \
    '^  CR2 ffff800100000000 ' "$registers"
fault write-unmapped "$page_fault" '^  it writes to 0xffff800100000005: frame 0x100000, which is not mapped$'
fault write-after-unmap "$page_fault" '^  it writes to 0xffff800100000000: frame 0x100000, which is not mapped$'
fault write-on-last-cpu '^exception 14 \(page fault\), .* on CPU 2 at RIP 0x1[0-9a-f]{6}$'
fault read-null "$page_fault" '^  it reads 0x8: a null pointer$'
fault write-constant "$page_fault" '^  it writes to 0x1[0-9a-f]{6}$'
fault write-code "$page_fault" '^  it writes to 0x1[0-9a-f]{6}$'
fault run-data '^exception 14 \(page fault\), error code 0x11' '^  it executes 0x1[0-9a-f]{6}$'
fault stack '^exception 8 \(double fault\)' '^  it [a-z ]+ 0xffffd[0-9a-f]+: the end of a stack$'
fault trap '^exception 6 \(invalid opcode\)'
fault fatal '^fatal: as asked$'
done_testing
