#!/bin/sh
# SPDX-License-Identifier: MIT
# An image boots on QEMU, finds what the machine has, and its code is seen outside.
. tests/support/tap.sh
. tests/support/qemu.sh

qemu_run pleat-contract 'show=machine code=5'
is 'the code of the image is seen' "$qemu_code" 5
has 'the command line' "$console" '^# command line: show=machine code=5$'
has 'memory below 4 GiB is free' "$console" '^# span 0x[0-9a-f]+ to 0x[0-9a-f]+, node 0, free$'
has 'the image is reserved' "$console" '^# span 0x1000 to 0x[0-9a-f]+, node 0, reserved$'
has 'the area' "$console" '^# area at 0x100000000, 0x1c0000000 bytes, node 0$'

# machine NAME ARGUMENTS OPTION...: it boots.
machine() {
    name=$1
    shift
    qemu_run pleat-contract 'show=machine code=6' "$@"
    is "$name: it boots" "$qemu_code" 6
}

machine 'two nodes' -M q35 -cpu max -m 2G,maxmem=8G -smp 4 \
    -object memory-backend-ram,id=m0,size=1G -object memory-backend-ram,id=m1,size=1G \
    -numa node,nodeid=0,cpus=0-1,memdev=m0 -numa node,nodeid=1,cpus=2-3,memdev=m1
has 'two nodes: the node of CPU 1' "$console" '^# CPU 1: node 0$'
has 'two nodes: the node of CPU 3' "$console" '^# CPU 3: node 1$'
has 'two nodes: memory of node 0' "$console" '^# span 0x[0-9a-f]+ to 0x40000, node 0, free$'
has 'two nodes: memory of node 1' "$console" '^# span 0x40000 to 0x[0-9a-f]+, node 1, free$'

machine 'more CPUs than a word has bits' -M q35 -cpu max -m 512M -smp 70
has 'more CPUs than a word has bits: the last one' "$console" '^# CPU 69: node 0$'

machine 'memory above 4 GiB' -M q35 -cpu max -m 5G -smp 1
has 'memory above 4 GiB: it is free' "$console" '^# span 0x100000 to 0x1c0000, node 0, free$'

machine 'a PC of old' -M pc -cpu qemu64 -m 256M -smp 2 -device virtio-rng-pci
has 'a PC of old: its PCI functions' "$console" '^# PCI 0000:00:00\.0: 8086:1237$'
has 'a PC of old: that there is no MCFG is said' "$console" '^pci: firmware names no configuration space: by ports, '
has 'a PC of old: a device' "$console" '^# PCI 0000:00:[0-9a-f]+\.[0-7]: 1af4:1005$'
has 'a PC of old: its CPUs' "$console" '^# CPU 1: node 0$'

machine 'another root bus' -M q35 -cpu max -m 256M -smp 1 -device pxb-pcie,id=pxb,bus_nr=128,bus=pcie.0 \
    -device pcie-root-port,id=rp1,bus=pxb,chassis=1 -device virtio-rng-pci,bus=rp1
has 'another root bus: a device behind it' "$console" '^# PCI 0000:(8[1-9a-f]):00\.0: 1af4:1044$'

machine 'a machine without ACPI tables' -M pc,acpi=off -cpu qemu64 -m 256M -smp 1
has 'a machine without ACPI tables: its PCI functions' "$console" '^# PCI 0000:00:00\.0: 8086:1237$'
done_testing
