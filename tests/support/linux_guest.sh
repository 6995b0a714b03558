# SPDX-License-Identifier: MIT
# What tests of `pleat drive` on a Linux guest share. Read it with `.` from the root of the tree, after tap.sh and
# machine.sh.

socket=$dir/qmp
command -v qemu-system-x86_64 >/dev/null || {
    ok 'QEMU is there (package qemu-system-x86)' false
    done_testing
}
ok 'there is a Linux to boot' limited scripts/linux-guest prepare

# guest OPTION...: boots Linux, to the end of its boot. Its commands go to file descriptor 3.
guest() {
    rm -f "$socket" "$dir/serial"
    mkfifo "$dir/serial"
    : >"$dir/guest.out"
    timeout -k 5 100 scripts/linux-guest run "$@" -qmp unix:"$socket",server=on,wait=off \
        <"$dir/serial" >>"$dir/guest.out" 2>&1 &
    guest=$!
    started="$started $guest"
    exec 3>"$dir/serial"
    until_true sh -c "grep -q 'linux-guest: ready' '$dir/guest.out' || ! kill -0 $guest"
    grep -q 'linux-guest: ready' "$dir/guest.out" || cat "$dir/guest.out" >&2
}
# off: the guest ends, by its own means or by a signal.
off() {
    echo 'poweroff -f' >&3
    exec 3>&-
    until_over "$guest" || kill "$guest"
}
# drive ARGUMENT...: its output in $dir/out and $dir/err, its exit code in $code.
drive() {
    code=0
    limited "$pleat" drive --qmp "$socket" "$@" >"$dir/out" 2>"$dir/err" </dev/null || code=$?
}
# in_guest COMMAND: prints what it prints in the guest.
in_guest() {
    # QEMU appends to it.
    : >"$dir/guest.out"
    echo "$1" >&3
    until_true grep -q 'linux-guest: exit' "$dir/guest.out"
    grep -v 'linux-guest: exit' "$dir/guest.out" | tr -d '\r'
}
