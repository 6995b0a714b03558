#!/bin/sh
# SPDX-License-Identifier: MIT
# The x86-64 port keeps what <pleat/port.h> and ports/bare/platform.h promise, on one CPU and on several.
. tests/support/tap.sh
. tests/support/qemu.sh

# contract NAME CPUS ARGUMENTS OPTION...: every check passes, on so many CPUs.
contract() {
    name=$1 cpus=$2 arguments=$3
    shift 3
    qemu_run pleat-contract "$arguments code=7" -smp "$cpus" "$@"
    is "$name: code" "$qemu_code" 7
    is "$name: what failed" "$(printf '%s\n' "$console" | grep -A1 '^not ok')" ''
    has "$name: it was run to its end" "$console" '^1\.\.[0-9]+$'
}

contract 'one CPU, boot memory' 1 '' -M q35 -cpu max -m 1G
contract 'one CPU, memory that comes and goes' 1 memory=area $qemu_dimm
contract 'four CPUs, memory that comes and goes' 4 memory=area $qemu_dimm
contract 'a CPU without 1 GiB pages' 2 memory=area $qemu_dimm -cpu qemu64
contract 'interrupts of a device, q35' 2 device=edu -M q35 -cpu max -m 256M -device edu
contract 'interrupts of a device, pc' 2 device=edu -M pc -cpu max -m 256M -device edu
contract 'interrupts of a device behind bridges' 2 device=edu -M q35 -cpu max -m 256M \
    -device pcie-root-port,id=rp -device pcie-pci-bridge,id=bridge,bus=rp -device edu,bus=bridge,addr=3
contract 'interrupts of a device that firmware has not seen' 1 device=edu -M q35 -bios qboot.rom -cpu max -m 256M \
    -device edu
contract "MSI-X of a device's queue" 2 device=rng -M q35 -cpu max -m 256M -device virtio-rng-pci
contract "MSI-X of a device's queue, pc" 1 device=rng -M pc -cpu max -m 256M -device virtio-rng-pci

name="MSI-X of a device's configuration"
qemu_start pleat-contract 'device=net code=7' -M q35 -cpu max -m 256M -smp 2 -device virtio-net-pci,id=net0,romfile=
ok "$name: the image waits for a change" qemu_wait '^# waits for a change'
qmp '{"execute": "set_link", "arguments": {"name": "net0", "up": false}}' >/dev/null
qemu_end
has "$name: it comes" "$console" '^ok 1 - vector_of_the_configuration_comes'
done_testing
