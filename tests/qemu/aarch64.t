#!/bin/sh
# SPDX-License-Identifier: MIT
# The core, the PCI transport and the virtio-mem driver on aarch64: QEMU's `virt` machine with QEMU's own device.
. tests/support/tap.sh

build=${BUILD:-build}
dir=$(mktemp -d) || exit 1
qemu=
trap '[ -z "$qemu" ] || kill -9 $qemu 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

# start ARGUMENTS OPTION...: a machine that boots the image with these arguments; its console goes to $dir/console.
start() {
    arguments=$1
    shift
    qemu-system-aarch64 -accel tcg,thread=multi -nodefaults -display none -no-reboot -M virt \
        -serial "file:$dir/console" -semihosting-config enable=on,target=native \
        -kernel "$build/pleat-minimal-aarch64.elf" -append "$arguments" "$@" </dev/null >"$dir/out" 2>&1 &
    qemu=$!
}

# Waits for the machine's end, 60 s at the most. $code is the image's own, $console what it wrote.
end() {
    tries=0
    while kill -0 $qemu 2>/dev/null && [ $tries -lt 600 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    if kill -9 $qemu 2>/dev/null; then
        code=killed
        wait $qemu 2>/dev/null
    else
        code=0
        wait $qemu || code=$?
    fi
    qemu=
    console=$(tr -d '\r' <"$dir/console")
}

# passes NAME: the image has run its checks, and none has failed.
passes() {
    is "$1: code" "$code" 0
    is "$1: no check fails" "$(printf '%s\n' "$console" | grep '^not ok'; cat "$dir/out")" ''
    is "$1: as many as planned" "1..$(printf '%s\n' "$console" | grep -c '^ok ')" \
        "$(printf '%s\n' "$console" | grep '^1\.\.')"
}

# device REQUESTED: a virtio-mem device of 2 GiB; to be used without quotes.
device() {
    echo "-m 512M,maxmem=8G -object memory-backend-ram,id=vmem0,size=2G,reserve=off
        -device virtio-mem-pci,id=vm0,memdev=vmem0,requested-size=$1"
}

start 'devices=0' -cpu cortex-a57 -smp 4 -m 512M
end
passes 'four CPUs, no device'
has 'CPUs and command line are found' "$console" '^# aarch64, 4 CPUs, 1 nodes, command line: devices=0$'
has 'the device tree is reserved' "$console" '^# span 0x40000 to 0x40100, node 0, reserved$'
has 'memory is free' "$console" '^# span 0x[0-9a-f]+ to 0x60000, node 0, free$'

start 'devices=0' -cpu max -smp 2 -m 768M -object memory-backend-ram,id=m0,size=256M \
    -object memory-backend-ram,id=m1,size=512M -numa node,memdev=m0,cpus=0 -numa node,memdev=m1,cpus=1
end
passes 'two nodes'
has 'each has its memory' "$console" '^# span 0x50000 to 0x70000, node 1, free$'

start 'devices=1' -cpu cortex-a57 -smp 2 $(device 1G)
end
passes 'a device grows and gives all back'
has 'all that is requested is plugged' "$console" '^# 1024 MiB plugged after [0-9]+ us$'

start 'devices=1 shrink=yes' -cpu max -smp 1 $(device 1G),packed=on -qmp "unix:$dir/qmp,server=on,wait=off"
tries=0
until grep -q '^# ready to shrink' "$dir/console" 2>/dev/null || [ $tries -eq 300 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
cat >"$dir/commands" <<'END'
{"execute":"qmp_capabilities"}
{"execute":"qom-set","arguments":{"path":"/machine/peripheral/vm0","property":"requested-size","value":67108864}}
{"execute":"query-memory-devices"}
END
(cat "$dir/commands"; sleep 1) | timeout 10 socat - "UNIX-CONNECT:$dir/qmp" >"$dir/answers"
end
passes 'a device grows, shrinks when it is asked, gives all back'
has 'it has shrunk to what is requested' "$console" '^# 64 MiB plugged, [1-9][0-9]* frames moved$'

start 'fault=read' -cpu cortex-a57 -m 512M
end
is 'a stray read: code' "$code" 99
has 'it says where' "$console" \
    '^synchronous exception, class 0x25, syndrome 0x[0-9a-f]+, on CPU 0 at 0x402[0-9a-f]+, called from 0x402[0-9a-f]+$'
has 'and what' "$console" '^  it reads 0x7f00123000: frame 0x7f00123$'
done_testing
