# SPDX-License-Identifier: MIT
# What tests that boot images under QEMU share: starting it under software emulation, what came out, and its
# end. Read it with `.` from the root of the tree, after tap.sh. All that is started is ended by its process id.
# QEMU in the environment is another qemu-system-x86_64 to run.

build=${BUILD:-build}
dir=$(mktemp -d) || exit 1
qemu_pid=
trap '[ -z "$qemu_pid" ] || kill -9 $qemu_pid 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

# Seconds after which a machine that is still there is ended.
qemu_patience=100

# What a machine here has unless the test says otherwise; to be used without quotes.
qemu_machine='-M q35 -cpu max -smp 2 -m 1G,maxmem=8G'
# The same with memory at the start of the area where memory may be plugged, so that it can be mapped and used without
# a device.
qemu_dimm='-M q35 -cpu max -m 1G,slots=1,maxmem=8G -object memory-backend-ram,id=ram1,size=64M
    -device pc-dimm,memdev=ram1'

# qemu_start IMAGE ARGUMENTS OPTION...: starts a machine (its process id: $qemu_pid) that boots build/IMAGE.elf with
# these arguments; the console goes to $dir/console, and is a socket there, too. QMP is at $dir/qmp. Without options
# it is $qemu_machine.
qemu_start() {
    qemu_image=$1 qemu_arguments=$2
    shift 2
    rm -f "$dir/console"
    [ $# -gt 0 ] || set -- $qemu_machine
    ${QEMU:-qemu-system-x86_64} -accel tcg,thread=multi -nodefaults -display none -no-reboot \
        -chardev "socket,id=console,path=$dir/console.socket,server=on,wait=off,logfile=$dir/console" \
        -serial chardev:console -qmp "unix:$dir/qmp,server=on,wait=off" -device isa-debug-exit,iobase=0xf4,iosize=4 \
        -kernel "$build/$qemu_image.elf" -append "$qemu_arguments" "$@" \
        </dev/null >"$dir/qemu.out" 2>&1 &
    qemu_pid=$!
    qemu_exit=isa-debug-exit
}

# The same for build/IMAGE-riscv64.elf, on the machine `virt`.
qemu_start_riscv64() {
    qemu_image=$1 qemu_arguments=$2
    shift 2
    [ $# -gt 0 ] || set -- -m 1G
    qemu-system-riscv64 -accel tcg -nodefaults -display none -no-reboot -M virt -bios none \
        -serial "file:$dir/console" -kernel "$build/$qemu_image-riscv64.elf" -append "$qemu_arguments" "$@" \
        </dev/null >"$dir/qemu.out" 2>&1 &
    qemu_pid=$!
    qemu_exit=sifive_test
}

# The same for build/IMAGE.elf as the initial domain (PVH dom0) of Xen, which has to be in build/xen
# (scripts/xen-packages). What Xen says is on the console, too. A dom0 that crashes ends QEMU with 0, and so does one
# that halts: $qemu_code is a number only if the image has ended itself.
qemu_start_dom0() {
    qemu_dom0='console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all'
    qemu_dom0="$qemu_dom0 dom0=pvh dom0-iommu=none dom0_mem=128M,max:160M"
    # A comma would begin another module.
    qemu_module="$build/$1.elf $(printf '%s' "$2" | sed 's/,/,,/g')"
    shift 2
    rm -f "$dir/console"
    qemu-system-x86_64 -accel tcg -cpu qemu64,+svm,+npt -m 512 -nodefaults -display none -no-reboot \
        -serial "file:$dir/console" -device isa-debug-exit,iobase=0xf4,iosize=4 -kernel build/xen/xen \
        -initrd "$qemu_module" -append "$qemu_dom0" "$@" </dev/null >"$dir/qemu.out" 2>&1 &
    qemu_pid=$!
    qemu_exit=isa-debug-exit
}

# qemu_type TEXT: types it at the console.
qemu_type() {
    printf '%s' "$1" | timeout 5 socat -u - "UNIX-CONNECT:$dir/console.socket"
}

# qmp COMMAND: sends one command, as JSON, and prints the answer.
qmp() {
    printf '%s\n' '{"execute": "qmp_capabilities"}' "$1" | timeout 20 socat -t 10 - "UNIX-CONNECT:$dir/qmp" | sed 1,2d
}

# qemu_resize ID BYTES: asks the guest for another size of a memory device.
qemu_resize() {
    qmp '{"execute": "qom-set", "arguments": {"path": "/machine/peripheral/'"$1"'", "property": "requested-size",
        "value": '"$2"'}}' | tr -d '\n'
}

# qemu_wait PATTERN [COUNT]: waits for so many lines on the console that match the extended regular expression.
qemu_wait() {
    qemu_tries=0
    until [ "$(grep -acE -e "$1" "$dir/console" 2>/dev/null || true)" -ge "${2:-1}" ] 2>/dev/null; do
        kill -0 $qemu_pid 2>/dev/null && [ $qemu_tries -lt $((qemu_patience * 20)) ] || return 1
        qemu_tries=$((qemu_tries + 1))
        sleep 0.05
    done
}

# qemu_end: waits for the machine's end. $qemu_code is the image's own code, "killed" if the machine had to be ended,
# "qemu N" if QEMU ended in another way than by the image's exit; $console is what the image wrote.
qemu_end() {
    qemu_tries=0
    while kill -0 $qemu_pid 2>/dev/null && [ $qemu_tries -lt $((qemu_patience * 20)) ]; do
        sleep 0.05
        qemu_tries=$((qemu_tries + 1))
    done
    if kill -9 $qemu_pid 2>/dev/null; then
        qemu_code=killed
        wait $qemu_pid 2>/dev/null
    else
        qemu_code=0
        wait $qemu_pid || qemu_code=$?
        # isa-debug-exit ends QEMU with 2 * code + 1, sifive_test with the code itself.
        if [ -s "$dir/qemu.out" ] || { [ $qemu_exit = isa-debug-exit ] && [ $((qemu_code & 1)) -eq 0 ]; }; then
            qemu_code="qemu $qemu_code: $(cat "$dir/qemu.out")"
        elif [ $qemu_exit = isa-debug-exit ]; then
            qemu_code=$((qemu_code >> 1))
        fi
    fi
    qemu_pid=
    console=$(tr -d '\r' <"$dir/console")
}

# qemu_run IMAGE ARGUMENTS OPTION...: both.
qemu_run() {
    qemu_start "$@"
    qemu_end
}

qemu_run_riscv64() {
    qemu_start_riscv64 "$@"
    qemu_end
}

qemu_run_dom0() {
    qemu_start_dom0 "$@"
    qemu_end
}
