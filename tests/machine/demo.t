#!/bin/sh
# SPDX-License-Identifier: MIT
# What `make run` shows when nobody sits at a terminal: all steps, and it ends well by itself.
. tests/support/tap.sh
. tests/support/machine.sh
begin=$(date +%s)
limited scripts/run-demo </dev/null >"$dir/out" 2>&1
is 'it ends well' $? 0
ok 'within a minute' test $(($(date +%s) - begin)) -le 60
out=$(cat "$dir/out")
is 'the devices are shown before and after, as QEMU does' \
    "$(printf '%s\n' "$out" | grep -c '^Memory device \[virtio-mem\]: "vm[01]"$')" 4
has 'the golden command line is shown' "$out" '^  -device virtio-mem-pci,id=vm1,memdev=mem1,node=1,requested-size=80M$'
has 'vm1 grows to 1G' "$out" '^vm1: 1G of 1G plugged'
has 'vm0 shrinks to 64M' "$out" '^vm0: 64M of 64M plugged'
has 'steps say how long they took and how many frames moved' "$out" '^  last change: took [0-9.]+ (us|ms|s), [1-9][0-9]* frames moved'
has 'the shrink that stops says why' "$out" '^  it stopped: .*unmovable, first at PFN 0x[0-9a-f]+, owner'
has 'and whose frames are in the way, and where' "$out" '^  PFN 0x[0-9a-f]+-0x[0-9a-f]+: [0-9]+ frames of dma$'
has 'no content was lost or wrong' "$out" '^Ran for .* wrong: 0\.$'
stem=$(printf '%s\n' "$out" | sed -n 's/^\(.*\)\.svg and .*\.png show the run\.$/\1/p')
ok 'the picture it names is there' test -s "$stem.svg" -a -s "$stem.png"
done_testing
