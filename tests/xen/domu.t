#!/bin/sh
# SPDX-License-Identifier: MIT
# Pleat's guest is a guest (PVH domU) of real Xen, whose toolstack creates it, sees to its size and ends it.
#
# What counts as success is what the guest says at its end ("ends with code 0", after its accounts add up) or its
# complete TAP, and what Xen counts as its memory. A guest that crashes is gone as well.
. tests/support/tap.sh
. tests/support/xen.sh

command -v qemu-system-x86_64 >/dev/null || {
    ok 'QEMU is there (package qemu-system-x86)' false
    done_testing
}

# guest NAME ARGUMENTS MIB MAXIMUM-MIB [LINE...]
guest() {
    guest_name=$1 guest_line="extra = \"$2\"" guest_memory="memory = $3" guest_maximum="maxmem = $4"
    shift 4
    xen_guest "$guest_name" 'kernel = "/guests/pleat-guest.elf"' "$guest_line" "$guest_memory" "$guest_maximum" "$@"
}
cp "$build/pleat-guest.elf" "$dir/guests/"
guest plain run 256 256
guest tests test=core,xen-memory,xen-events,xen-grants 96 96
guest populate 'run workload=synthetic,preset=5,rate=2000,fill=30%' 160 256
guest offline 'run policy=offline' 96 96
guest movable 'run policy=online_movable' 96 96
guest offers run 64 64
guest maps run 64 64
xen_start

# create NAME [SETTING]: until the guest runs.
create() {
    ok "$1: xl create" in_dom0 "xl create /guests/$1.cfg ${2:+'$2'}"
    ok "$1: it runs" guest_says "$1" '^guest: runs'
}

# ended NAME HOW: it has ended as it should.
ended() {
    ok "$1: $2, and nothing of it is left" guest_is_gone "$1"
    said=$(guest_console "$1")
    has "$1: every frame is accounted for, with its content" "$said" '^guest: ended, all is well$'
    has "$1: it ended itself" "$said" '^xen: ends with code 0$'
}

# typed_end NAME
typed_end() {
    guest_type "$1" q
    ended "$1" 'the guest ends at a key'
}

# resize NAME MIB EXTRA_KIB WHAT: by the toolstack; Xen and the guest agree that it's there. Where memory is populated
# on demand, the guest's word counts: there Xen's count jumps before the guest has done anything.
resize() {
    said=$(mem_set "$1" "$2" "$3")
    has "$1: $4" "$said" "wanted $(($2 * 1024 + $3)), has $(($2 * 1024 + $3)); .* reached [0-9.]+ s$"
    echo "# $said"
    ok "$1: the guest says so" in_dom0 \
        "await 20 sh -c 'grep \"^balloon: \" /var/log/xen/guest-$1.log | tail -n 1 | grep \"target $2 MiB reached\"'"
    echo "# $(guest_console "$1" | grep '^balloon: ' | tail -n 1)"
}

# ---- the platform ----

create plain
has 'plain: what it is' "$(guest_console plain)" '^xen: 4\.17, a domain, [0-9]+ grants, a store$'
has 'plain: what it has' "$(guest_console plain)" '^guest: x86_64, 1 CPU, 1 node, 25[56] MiB, '
extra=$(($(guest_kib plain) - 256 * 1024))
ok 'plain: Xen counts that, and some pages more' test $extra -ge 0 -a $extra -lt 1024
has 'plain: the toolstack shows it' "$(in_dom0 'xl list')" '^plain +[0-9]+ +256 '
if grep -q pleat_xen_balloon images/guest/*.c; then
    for size in 160 256 160 256 160; do
        resize plain $size $extra "mem-set to $size MiB is reached, exactly"
    done
    has 'plain: the toolstack shows that' "$(in_dom0 'xl list')" '^plain +[0-9]+ +160 '
fi
typed_end plain

# Under the maximum that the toolstack sets there is less room than the tests of memory need.
ok 'tests: xl create' in_dom0 'xl create -p /guests/tests.cfg && xl mem-max tests 112 && xl unpause tests'
ok 'tests: they end' guest_is_gone tests
said=$(guest_console tests)
is 'tests: what failed' "$(printf '%s\n' "$said" | grep -B1 -A1 '^not ok')" ''
is 'tests: they were run to their end' "$(printf '%s\n' "$said" | grep -c '^ok ')" \
    "$(printf '%s\n' "$said" | sed -n 's/^1\.\.\([0-9]*\)$/\1/p')"
has 'tests: the guest says so itself' "$said" '^xen: ends with code 0$'

create movable
ok 'movable: xl destroy' in_dom0 'xl destroy movable'
ok 'movable: nothing of it is left' guest_is_gone movable
is 'movable: it had no time to end by itself' "$(guest_console movable | grep -c ended)" 0

# ---- the drivers ----

if grep -q pleat_xen_balloon images/guest/*.c; then
    # A guest of 256 MiB with 160 behind them: it is ended by Xen if it touches more.
    create populate
    ok 'populate: it gives back what it never had' guest_says populate '^balloon: target 160 MiB reached .* frames out'
    is 'populate: Xen counts what it can have' "$(guest_kib populate)" $((160 * 1024 + extra))
    resize populate 192 $extra 'it grows'
    resize populate 128 $extra 'it shrinks below what it was created with'
    resize populate 256 $extra 'it grows to all it may have'
    typed_end populate

    # Growth beyond the size at boot. `xl mem-max` writes memory/static-max, too.
    for name in offline movable; do
        create $name
        at_boot=$(($(guest_kib $name) - 96 * 1024))
        ok "$name: xl mem-max" in_dom0 "xl mem-max $name 224"
        resize $name 208 $at_boot 'it grows beyond its size at boot, whatever its policy'
        resize $name 80 $at_boot 'it shrinks below that again'
        resize $name 144 $at_boot 'it grows again'
        ok "$name: xl shutdown" in_dom0 "xl shutdown $name"
        ended $name 'the guest follows xl shutdown'
    done
fi

# ---- grants from one guest to another ----

if grep -q '"grants"' images/guest/options.c; then
    create offers
    here=$(in_dom0 'xl domid offers')
    guest_type offers "g$((here + 1))"
    ok 'offers: it grants 1024 frames to the next domain' guest_says offers \
        "^grants: domain $((here + 1)) may map 1024 frames, references [0-9]+ to [0-9]+"
    first=$(guest_console offers | sed -n 's/^grants: .* references \([0-9]*\) to .*/\1/p')
    create maps "extra=\"run grants=$here:$first:1024\""
    ok 'maps: all are mapped, and data goes both ways' guest_says maps \
        "^grants: 1024 frames of domain $here mapped, right both ways"
    ok 'maps: after the unmapping there are holes' guest_says maps '^grants: 1024 unmapped, 1024 holes'
    ok 'maps: no memory was given up for it' guest_says maps '^grants: 0 frames of memory used'
    typed_end maps
    typed_end offers
fi

xen_end
done_testing
