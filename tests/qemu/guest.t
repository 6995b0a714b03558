#!/bin/sh
# SPDX-License-Identifier: MIT
# The guest image on QEMU's own virtio-mem: it plugs, uses and unplugs what is asked for over QMP, with one CPU and
# several, on both rings, with a workload and without; and what goes wrong is a line on the console of a guest that
# goes on running.
. tests/support/tap.sh
. tests/support/qemu.sh

MiB=1048576

# one REQUESTED [PROPERTY]...: the options of one device of 2 GiB, without quotes.
one() {
    echo "-object memory-backend-memfd,id=mem0,size=2G,reserve=off
        -device virtio-mem-pci,id=vm0,memdev=mem0,requested-size=$1${2:-}"
}

# Two nodes of 512 MiB, each with a device.
two='-m 1G,maxmem=8G -object memory-backend-ram,id=ram0,size=512M -object memory-backend-ram,id=ram1,size=512M
    -numa node,nodeid=0,memdev=ram0,cpus=0 -numa node,nodeid=1,memdev=ram1,cpus=1
    -object memory-backend-memfd,id=mem0,size=1G,reserve=off -device virtio-mem-pci,id=vm0,memdev=mem0,node=0
    -object memory-backend-memfd,id=mem1,size=1G,reserve=off -device virtio-mem-pci,id=vm1,memdev=mem1,node=1,packed=on'

start() {
    arguments=$1
    shift
    qemu_start pleat-guest "$arguments" -M q35 -cpu max "$@"
}

# in_image NAME ARGUMENTS OPTION...: tests that the image does itself.
in_image() {
    name=$1
    shift
    start "$@"
    qemu_end
    is "$name: code" "$qemu_code" 0
    is "$name: what failed" "$(printf '%s\n' "$console" | grep -E '^not ok|panic|content:')" ''
    has "$name: it was run to its end" "$console" '^1\.\.[0-9]+$'
}

# end NAME: the run ends, with all stamps and accounts as they must be.
end() {
    qemu_type q
    qemu_end
    is "$1: code" "$qemu_code" 0
    has "$1: every frame is accounted for, with its content" "$console" '^guest: ended, all is well$'
}

in_image 'one CPU' test=core,cpus,faults -smp 1 -m 512M,maxmem=4G $(one 256M)
# By messages where the device has vectors for them, as it has in newer QEMUs; by pins elsewhere.
way=INTx vectors=
if ${QEMU:-qemu-system-x86_64} -device virtio-mem-pci,help | grep -q vectors=; then
    way=MSI-X vectors='0 1 2'
fi
has 'one CPU: how the device interrupts' "$console" "^virtio-mem .*, $way\$"
for count in $vectors; do
    in_image "vectors: $count" test=device -smp 2 -m 512M,maxmem=4G $(one 256M ",vectors=$count")
    [ "$count" -gt 0 ] && way=MSI-X || way=INTx
    has "vectors: $count: how the device interrupts" "$console" "^virtio-mem .*, $way\$"
done
in_image 'pins' 'test=device interrupts=intx' -smp 2 -m 512M,maxmem=4G $(one 256M)
has 'pins: the device interrupts by them' "$console" '^virtio-mem .*, INTx$'
in_image 'a device in a slot' test=faults -smp 2 -m 512M,maxmem=4G -device pcie-root-port,id=rp \
    $(one 256M ,bus=rp)
has 'a device in a slot: it was pulled out' "$console" '^ok [0-9]+ - when its slot has no power any more'
has 'a device in a slot: that it was pulled out is said' "$console" '^virtio-mem .*: the device has gone, with '
in_image 'two CPUs, packed ring' test=cpus,device -smp 2 -m 512M,maxmem=4G $(one 256M ,packed=on)
in_image 'four CPUs, no interrupts' 'test=cpus,device interrupts=none' -smp 4 -m 512M,maxmem=4G $(one 130M)

start bench -smp 2 -m 512M,maxmem=4G $(one 256M)
qemu_end
is 'bench: code' "$qemu_code" 0
has 'bench: what an allocation costs' "$console" '^order 0, one frame .*, movable, a pair +[1-9][0-9.]* ns$'
has 'bench: what metadata costs' "$console" '^frames of metadata for 1 GiB plugged +[1-9][0-9]* frames$'
has 'bench: what a device costs' "$console" '^virtio-mem .*: unplug 256 MiB, [1-9][0-9]* requests +[0-9.]+ ms$'
has 'bench: and how long until something is plugged' "$console" '^boot to the first plugged byte +[0-9.]+ ms$'

# ---- grow and shrink, by QMP, under a workload ----

for cpus in 1 2 4; do
    start 'run workload=synthetic,preset=5,rate=10000' -smp $cpus -m 512M,maxmem=4G $(one 0)
    ok "$cpus CPUs: the workload runs" qemu_wait '^guest: workload holds'
    qemu_resize vm0 $((1024 * MiB)) >/dev/null
    ok "$cpus CPUs: 1 GiB is plugged" qemu_wait '^virtio-mem .*: 1 GiB as requested'
    is "$cpus CPUs: the device says so, too" \
        "$(qmp '{"execute": "query-memory-devices"}' | jq -c '.return[0].data.size')" $((1024 * MiB))
    qemu_resize vm0 0 >/dev/null
    ok "$cpus CPUs: all of it is unplugged" qemu_wait '^virtio-mem .*: 0 bytes as requested' 2
    end "$cpus CPUs"
done

start 'run workload=synthetic,preset=20,rate=10000,fill=50%' -smp 2 $two
ok 'two devices: both are there' qemu_wait '^virtio-mem .* ring' 2
ok 'two devices: the workload runs' qemu_wait '^guest: workload holds'
qemu_resize vm0 $((512 * MiB)) >/dev/null
qemu_resize vm1 $((1024 * MiB)) >/dev/null
ok 'two devices: the first grows' qemu_wait '^virtio-mem .*: 512 MiB as requested'
ok 'two devices: the second grows' qemu_wait '^virtio-mem .*: 1 GiB as requested'
qemu_resize vm1 0 >/dev/null
qemu_resize vm0 $((64 * MiB)) >/dev/null
ok 'two devices: the second shrinks' qemu_wait '^virtio-mem .*: 0 bytes as requested' 3
ok 'two devices: the first shrinks' qemu_wait '^virtio-mem .*: 64 MiB as requested'
end 'two devices'
has 'two devices: one on node 0, with a split ring' "$console" '^virtio-mem .*: node 0, split ring$'
has 'two devices: one on node 1, with a packed ring' "$console" '^virtio-mem .*: node 1, packed ring$'

# ---- what stops a shrink ----

start 'run floor=1G' -smp 2 -m 512M,maxmem=4G $(one 1G)
ok 'floor: 1 GiB is plugged' qemu_wait '^virtio-mem .*: 1 GiB as requested'
qemu_resize vm0 0 >/dev/null
ok 'floor: the shrink stops there, and says so' qemu_wait ': shrink stopped at .*less than 1 GiB free'
end 'floor'

start 'run fill=900M objects=mixed floor=16M' -smp 2 -m 512M,maxmem=4G $(one 768M)
ok 'half full: it is filled' qemu_wait '^fill: mixed objects'
qemu_resize vm0 0 >/dev/null
ok 'half full: the shrink comes to its end' qemu_wait '^fill: .* went, of a bound'
end 'half full'
percent=$(printf '%s\n' "$console" | sed -n 's/^fill: .* went.*: \([0-9]*\)\.[0-9] %$/\1/p' | tail -1)
is 'half full: each amount that went is said once' "$(printf '%s\n' "$console" | grep '^fill: .* went' | sort | uniq -d)" ''
ok "half full: at least 95 % of what could go has gone ($percent %)" [ "${percent:-0}" -ge 95 ]

# ---- devices in trouble ----

# More huge pages than the host has.
wanted=$((512 + $(awk '/^HugePages_Free/ { print $2 * 2 }' /proc/meminfo)))
start run -smp 1 -m "512M,maxmem=$((wanted * 2 + 4096))M" \
    -object memory-backend-memfd,id=mem0,size=$((wanted * 2))M,hugetlb=on,hugetlbsize=2M,reserve=off \
    -device virtio-mem-pci,id=vm0,memdev=mem0,requested-size=${wanted}M,prealloc=on
ok 'a backend that has no memory: the device is busy' qemu_wait ': held up at .* wanted: the device is busy'
qemu_resize vm0 0 >/dev/null
ok 'a backend that has no memory: all is well when nothing is wanted' qemu_wait '^virtio-mem .*: 0 bytes as requested'
qemu_type q
qemu_end
has 'a backend that has no memory: the guest runs' "$console" '^guest: ended, all is well$'

# SeaBIOS has tables of its own then, and an SRAT isn't among them.
in_image 'no SRAT' test=device -smp 2 -m 512M,maxmem=4G -M acpi=off $(one 256M)
has 'no SRAT: it says so' "$console" "^virtio-mem .*: firmware doesn't say that memory can be plugged there$"

# Neither QEMU nor this firmware has any.
in_image 'no ACPI tables' test=cpus,device -smp 2 -m 512M,maxmem=4G -M acpi=off -bios qboot.rom $(one 256M)
has 'no ACPI tables: it says so' "$console" '^ACPI: left out: there is no RSDP at 0x0$'
has 'no ACPI tables: it says what it does without' "$console" '^cpus: firmware names none: '

start run -smp 1 -m 512M
ok 'no device: it says so' qemu_wait '^guest: no virtio-mem device'
end 'no device'

start 'run policy=ofline' -smp 1 -m 512M
qemu_end
is 'a wrong command line: code' "$qemu_code" 2
has 'a wrong command line: it is named' "$console" '^guest: command line: policy: .* found "ofline"$'

start stray -smp 1 -m 512M,maxmem=4G $(one 128M)
qemu_end
is 'a touch of unplugged memory: the port ends it' "$qemu_code" 99
pfn=$(printf '%s\n' "$console" | sed -n 's/^guest: reads unplugged memory at PFN \(0x[0-9a-f]*\)$/\1/p')
is 'a touch of unplugged memory: the PFN is named by guest and port' "$(printf '%s\n' "$console" | grep -c "$pfn")" 2
done_testing
