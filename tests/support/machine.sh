# SPDX-License-Identifier: MIT
# What tests of `pleat run` share: the machine of the README, and starting and ending it. Read it with `.`
# from the root of the tree, after tap.sh. All that is started is ended by its process id when the test ends.

pleat=${BUILD:-build}/pleat
dir=$(mktemp -d) || exit 1
started=
trap 'for pid in $started; do kill -9 "$pid" 2>/dev/null; done; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

# The machine with two nodes and two memory devices, to be used without quotes; more options may follow.
two_nodes="$pleat run -m 4G,maxmem=20G -smp sockets=2,cores=2
    -numa node,nodeid=0,cpus=0-1 -numa node,nodeid=1,cpus=2-3
    -object memory-backend-ram,id=mem0,size=8G
    -device virtio-mem-pci,id=vm0,memdev=mem0,node=0,requested-size=128M
    -object memory-backend-ram,id=mem1,size=8G
    -device virtio-mem-pci,id=vm1,memdev=mem1,node=1,requested-size=80M"
# One of a quarter of a gigabyte with one device.
one_device="$pleat run -m 256M,maxmem=1G -object memory-backend-ram,id=mem0,size=512M
    -device virtio-mem-pci,id=vm0,memdev=mem0,requested-size=64M"

# Seconds that anything here is waited for before the test fails. What passes doesn't wait so long, however busy
# the host is.
patience=60

# limited COMMAND...: ends it if it takes too long.
limited() {
    timeout -k 5 $patience "$@"
}

# start NAME COMMAND...: runs it in the background with nothing to read; its output is in $dir/NAME.out, its
# process id in $pid. The program itself is that process: it gets the signals.
start() {
    start_name=$1
    shift
    "$@" </dev/null >"$dir/$start_name.out" 2>&1 &
    pid=$!
    started="$started $pid"
}

# until_true COMMAND...: tries it until it succeeds.
until_true() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt $((patience * 50)) ] || return 1
        sleep 0.02
    done
}

# heeds PID NUMBER: true if the process has a handler for this signal.
heeds() {
    caught=$(awk '/^SigCgt/ { print substr($2, 9) }' "/proc/$1/status") && [ $((0x$caught >> ($2 - 1) & 1)) -eq 1 ]
}

# until_over PID: waits for its end; the exit code is in $code, 124 if it went on.
until_over() {
    code=124
    until_true sh -c "! kill -0 $1" || return 1
    code=0
    wait "$1" || code=$?
}
