#!/bin/sh
# SPDX-License-Identifier: MIT
# The images on aarch64: QEMU's `virt` machine with QEMU's own device.
. tests/support/tap.sh

build=${BUILD:-build}
dir=$(mktemp -d) || exit 1
qemu=
trap '[ -z "$qemu" ] || kill -9 $qemu 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

mkfifo "$dir/keys"
exec 3<>"$dir/keys"

# start IMAGE ARGUMENTS OPTION...: a machine that boots build/IMAGE-aarch64.elf with these arguments; its console goes
# to $dir/console, and what is written to file descriptor 3 is typed there.
start() {
    image=$1 arguments=$2
    shift 2
    qemu-system-aarch64 -accel tcg,thread=multi -nodefaults -display none -no-reboot -M virt \
        -chardev stdio,id=console,signal=off -serial chardev:console \
        -semihosting-config enable=on,target=native \
        -kernel "$build/$image-aarch64.elf" -append "$arguments" "$@" <"$dir/keys" >"$dir/console" 2>&1 &
    qemu=$!
}

# until_said PATTERN: waits for a line of the console, 60 s at the most, or for the machine's end.
until_said() {
    tries=0
    until grep -qE "$1" "$dir/console" || ! kill -0 $qemu 2>/dev/null || [ $tries -ge 600 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
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
    is "$1: no check fails" "$(printf '%s\n' "$console" | grep -A1 '^not ok')" ''
    is "$1: as many as planned" "1..$(printf '%s\n' "$console" | grep -c '^ok ')" \
        "$(printf '%s\n' "$console" | grep '^1\.\.')"
}

# device REQUESTED: a virtio-mem device of 2 GiB; to be used without quotes.
device() {
    echo "-m 512M,maxmem=8G -object memory-backend-ram,id=vmem0,size=2G,reserve=off
        -device virtio-mem-pci,id=vm0,memdev=vmem0,requested-size=$1"
}

start pleat-contract 'show=machine code=5' -cpu max -smp 2 -m 768M \
    -object memory-backend-ram,id=m0,size=256M -object memory-backend-ram,id=m1,size=512M \
    -numa node,memdev=m0,cpus=0 -numa node,memdev=m1,cpus=1
end
is 'the code of the image is seen' "$code" 5
has 'the command line' "$console" '^# command line: show=machine code=5$'
has 'a CPU of another node' "$console" '^# CPU 1: node 1$'
has 'the device tree is reserved' "$console" '^# span 0x40000 to 0x40100, node 0, reserved$'
has 'the image is reserved' "$console" '^# span 0x40200 to 0x[0-9a-f]+, node 0, reserved$'
has 'memory of the other node is free' "$console" '^# span 0x50000 to 0x70000, node 1, free$'
has 'the host bridge is found' "$console" '^# PCI 0000:00:00\.0: 1b36:0008$'

for cpus in 1 4; do
    start pleat-contract '' -cpu cortex-a57 -smp $cpus -m 256M
    end
    passes "what the port promises, with $cpus CPUs"
done

start pleat-core '' -cpu cortex-a57 -smp 4 -m 512M
end
passes 'the core'

start pleat-guest 'test=device' -cpu cortex-a57 -smp 2 $(device 256M)
end
passes 'the driver'

start pleat-guest 'test=faults' -cpu cortex-a57 -smp 2 $(device 256M)
end
passes 'devices that misbehave'

# Half of what fills it is free, but not in whole pieces: to shrink, it has to move the rest.
start pleat-guest 'run fill=300M' -cpu max -smp 2 $(device 512M),packed=on -qmp "unix:$dir/qmp,server=on,wait=off"
until_said '^guest: runs'
cat >"$dir/commands" <<'END'
{"execute":"qmp_capabilities"}
{"execute":"qom-set","arguments":{"path":"/machine/peripheral/vm0","property":"requested-size","value":67108864}}
END
timeout 10 socat -t 5 - "UNIX-CONNECT:$dir/qmp" <"$dir/commands" >"$dir/answers"
until_said '^virtio-mem 00:01\.0: 64 MiB as requested'
printf q >&3
end
is 'a guest that is asked to shrink: code' "$code" 0
has 'it has grown' "$console" '^virtio-mem 00:01\.0: 512 MiB as requested after '
has 'it has shrunk' "$console" '^virtio-mem 00:01\.0: 64 MiB as requested after .* [1-9][0-9]+ frames moved$'
has 'by a packed ring' "$console" '^virtio-mem 00:01\.0: .*packed ring'
has 'no content was lost' "$console" ' blocks checked, 0 wrong$'
has 'and ended well' "$console" '^guest: ended, all is well$'

# fault NAME PATTERN...: fault=NAME ends the machine, and a line of the console matches each pattern.
fault() {
    name=$1
    shift
    start pleat-contract "fault=$name" -cpu cortex-a57 -smp 3 -m 256M
    end
    is "$name: code" "$code" 99
    for pattern; do
        has "$name: $pattern" "$console" "$pattern"
    done
}

abort='^synchronous exception, class 0x25, syndrome 0x[0-9a-f]+, on CPU 0 at 0x402[0-9a-f]+, called from 0x402[0-9a-f]+$'
fault read-null "$abort" '^  it reads 0x8: frame 0x0$' '^  x0 0x[0-9a-f]+$'
fault write-constant "$abort" '^  it writes to 0x404[0-9a-f]+: frame 0x404[0-9a-f]+$'
fault write-code "$abort" '^  it writes to 0x402[0-9a-f]+: '
fault write-on-last-cpu ', on CPU 2 at 0x402[0-9a-f]+,'
fault run-data '^synchronous exception, class 0x21,' '^  it executes 0x40[4-9][0-9a-f]+: '
fault stack "$abort" '^  it writes to 0x405f[0-9a-f]+: frame 0x405ff, the end of a stack$'
fault fatal '^fatal: as asked$'
done_testing
