#!/bin/sh
# SPDX-License-Identifier: MIT
# The bare-metal port in domains of real Xen that a toolstack has made: all of its contract, on two CPUs, without PCI;
# memory that is populated on demand; and the end of a domain, whose reason the toolstack sees.
. tests/support/tap.sh
. tests/support/xen.sh

# image NAME IMAGE ARGUMENTS LINE...: a guest that boots build/IMAGE.elf.
image() {
    image_name=$1 image_file=$2 image_arguments=$3
    shift 3
    cp "$build/$image_file.elf" "$dir/guests/"
    xen_guest "$image_name" "kernel = \"/guests/$image_file.elf\"" "cmdline = \"$image_arguments\"" "$@"
}
image contract pleat-contract '' 'memory = 64' 'vcpus = 2'
image promised pleat-guest test=xen-memory 'memory = 48' 'maxmem = 80' 'vcpus = 2'
image crash pleat-contract fault=trap 'memory = 64'
xen_start

# ends NAME REASON: it is made, runs, and ends for this reason (xen/include/public/sched.h). $console is what it wrote.
ends() {
    ok "$1: xl create" in_dom0 "xl create /guests/$1.cfg"
    ok "$1: it ends" guest_is_gone "$1"
    console=$(guest_console "$1")
    has "$1: the reason that the toolstack sees" "$(in_dom0 "cat /var/log/xen/xl-$1.log")" \
        "has shut down, reason code $2 "
}

# passes NAME: it ends in order, and every test of the image has passed.
passes() {
    ends "$1" 0
    is "$1: what failed" "$(printf '%s\n' "$console" | grep -B1 -A1 '^not ok')" ''
    is "$1: what was left out" "$(printf '%s\n' "$console" | grep 'SKIP')" ''
    is "$1: it was run to its end" "$(printf '%s\n' "$console" | grep -c '^ok ')" \
        "$(printf '%s\n' "$console" | sed -n 's/^1\.\.\([0-9]*\)$/\1/p')"
    has "$1: its code" "$console" '^xen: ends with code 0$'
}

passes contract
has 'it is Xen, with a store' "$console" '^xen: 4\.17, a domain, 2048 grants, a store$'
has 'that there is no PCI is said' "$console" '^pci: .* no functions$'
passes promised
has 'populate-on-demand: memory as was promised, and both CPUs' "$console" '^guest: x86_64, 2 CPUs, 1 node, (79|80) MiB, '
has 'populate-on-demand: it is seen' "$console" '^ok [0-9]+ - populated on demand: '
ends crash 3
has 'an exception is named' "$console" '^exception 6 \(invalid opcode\)'
xen_end
done_testing
