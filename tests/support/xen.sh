# SPDX-License-Identifier: MIT
# What tests share that run guests of real Xen (scripts/xen-bed): starting it, commands in its first domain, guests,
# and its end. Read it with `.` from the root of the tree, after tap.sh. All that is started is ended by its process
# id.

build=${BUILD:-build}
dir=$(mktemp -d) || exit 1
xen_pid=
trap '[ -z "$xen_pid" ] || kill "$xen_pid" 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$dir/guests"

# Seconds that anything here is waited for before the test fails. What passes doesn't wait so long, however busy
# the host is.
xen_patience=90

# xen_await PATTERN: waits for a line of the first domain that matches the extended regular expression.
xen_await() {
    xen_tries=0
    until grep -aqE -e "$1" "$dir/dom0"; do
        kill -0 "$xen_pid" 2>/dev/null && [ $xen_tries -lt $((xen_patience * 50)) ] || return 1
        xen_tries=$((xen_tries + 1))
        sleep 0.02
    done
}

# xen_guest NAME LINE...: describes a guest in /guests/NAME.cfg of the first domain, in the toolstack's words
# (xl.cfg(5)). What isn't said otherwise: a PVH guest with one CPU. To be called before xen_start.
xen_guest() {
    xen_name=$1
    shift
    printf '%s\n' "name = \"$xen_name\"" 'type = "pvh"' 'vcpus = 1' 'on_crash = "destroy"' "$@" \
        >"$dir/guests/$xen_name.cfg"
}

# xen_start: boots Xen, up to where its first domain takes commands; a test of its own.
xen_start() {
    mkfifo "$dir/in"
    : >"$dir/dom0"
    timeout -k 5 230 scripts/xen-bed run "$dir" <"$dir/in" >>"$dir/dom0" 2>&1 &
    xen_pid=$!
    exec 3>"$dir/in"
    xen_ready=$(xen_await '^xen-bed: ready' && cat "$dir/dom0" || cat "$dir/console" "$dir/dom0" 2>/dev/null)
    is 'Xen, its first domain and the toolstack are up' "$(printf '%s' "$xen_ready" | tr -d '\r')" 'xen-bed: ready'
}

# in_dom0 COMMAND: prints what it prints in the first domain, and returns its exit code; 125: there was no answer.
in_dom0() {
    # QEMU appends to it.
    : >"$dir/dom0"
    echo "$1" >&3
    xen_await 'xen-bed: exit [0-9]+' || {
        cat "$dir/dom0"
        return 125
    }
    tr -d '\r' <"$dir/dom0" | sed 's/xen-bed: exit [0-9]*$//; /^$/d'
    return "$(tr -d '\r' <"$dir/dom0" | sed -n 's/^.*xen-bed: exit \([0-9]*\)$/\1/p')"
}

# guest_console NAME: what the guest has written to its console.
guest_console() {
    in_dom0 "cat /var/log/xen/guest-$1.log"
}

# guest_says NAME PATTERN [SECONDS]: waits for a line on its console that matches the extended regular expression.
guest_says() {
    in_dom0 "await ${3:-80} grep -qE '$2' /var/log/xen/guest-$1.log" || {
        guest_console "$1"
        return 1
    }
}

# guest_type NAME TEXT: types it, with a new line after it, at the guest's console.
guest_type() {
    in_dom0 "echo '$2' >\$(xenstore-read /local/domain/\$(xl domid $1)/console/tty)"
}

# guest_kib NAME: how much memory Xen counts as the guest's.
guest_kib() {
    in_dom0 "reach \$(xl domid $1)"
}

# guest_is_gone NAME: waits until Xen has nothing left of the guest.
guest_is_gone() {
    in_dom0 "await 60 sh -c '! xl domid $1'"
}

# mem_set NAME MIB EXTRA_KIB: asks the toolstack to give the guest another size, and waits until it has that and
# EXTRA_KIB, which the toolstack doesn't count. Prints what `reach` says.
mem_set() {
    in_dom0 "reach \$(xl domid $1) $(($2 * 1024 + $3)) 30 xl mem-set $1 $2"
}

# xen_end: the first domain ends, and QEMU; a test of its own. QEMU ends with 0 after a crash, too: what counts is
# what Xen says.
xen_end() {
    echo 'poweroff -f' >&3
    exec 3>&-
    xen_tries=0
    while kill -0 "$xen_pid" 2>/dev/null && [ $xen_tries -lt $((xen_patience * 10)) ]; do
        xen_tries=$((xen_tries + 1))
        sleep 0.1
    done
    xen_code=killed
    if ! kill "$xen_pid" 2>/dev/null; then
        xen_code=0
        wait "$xen_pid" || xen_code=$?
    fi
    xen_pid=
    xen_last=$(tr -d '\r' <"$dir/console" | grep -aE 'Entering ACPI S5 state|panic|Oops|BUG|crash|Assertion')
    is 'the first domain and Xen end in order' "$xen_code: $xen_last" '0: (XEN) Entering ACPI S5 state.'
}
