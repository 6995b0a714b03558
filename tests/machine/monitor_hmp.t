#!/bin/sh
# SPDX-License-Identifier: MIT
# The terminal's commands: every one of them, as it should be used and as it shouldn't. The machine is idle and
# on a virtual clock, so its answers are the same each time; they are compared with
# tests/machine/golden/monitor_hmp.output as a whole.
. tests/support/tap.sh
. tests/support/machine.sh
golden_files=tests/machine/golden/monitor_hmp

# The seed of the idea, word for word, on threads and the host's clock.
golden='Memory device [virtio-mem]: "vm0"
  memaddr: 0x140000000
  node: 0
  requested-size: 134217728
  size: 134217728
  max-size: 8589934592
  block-size: 2097152
  memdev: /objects/mem0
Memory device [virtio-mem]: "vm1"
  memaddr: 0x340000000
  node: 1
  requested-size: 83886080
  size: 83886080
  max-size: 8589934592
  block-size: 2097152
  memdev: /objects/mem1'
# shellcheck disable=SC2086
is 'right after boot the devices are what QEMU showed' \
    "$(echo 'info memory-devices' | limited $two_nodes | grep -v -e '^(pleat)' -e '^Ran')" "$golden"
# shellcheck disable=SC2086
is 'nothing is plugged while the guest waits for cont, with the command after it all is' \
    "$(printf 'info status\ninfo memory-devices\ncont\ninfo memory-devices\n' | limited $two_nodes -S -seed 1 |
        grep -v -e '^(pleat)' -e '^Ran')" \
    "VM status: paused (prelaunch)
$(printf '%s\n' "$golden" | sed 's/  size: .*/  size: 0/')
$golden"

# shellcheck disable=SC2086
limited $two_nodes -seed 1 <$golden_files.commands 2>&1 | sed '/^Ran for/d' >"$dir/output"
ok 'all commands, good and bad' diff -u $golden_files.output "$dir/output"

# What depends on how memory is allocated is only looked at.
# shellcheck disable=SC2086
seen=$(printf 'info %s\n' workload zones ranges driver 'driver vm1' |
    limited $two_nodes -seed 7 -workload synthetic,preset=20,fill=30%)
has 'info workload' "$seen" '^held: .* unmovable, .* reclaimable, .* movable$'
has 'every content that was checked was right' "$seen" '^contents checked: [0-9]+, wrong: 0$'
has 'info zones' "$seen" '^   0  DMA32 +[0-9]+ '
has 'info ranges' "$seen" '^  340000000-347ffffff : System RAM \(vm1\)'
is 'info driver, of all and of one' "$(printf '%s\n' "$seen" | grep -c '^vm1: 80M of 80M plugged, 128M added')" 2

has 'the end comes with a summary' "$seen" '^Ran for .* vm1 has 80M of 80M\. [1-9][0-9]* operations, .* wrong: 0\.$'

# A shrink that can't be met, and a block that can't go offline, say why: how many frames, whose, and where.
cat >"$dir/stuck.scenario" <<'EOF'
wait 2s
guest pin memory40 37
qom-set vm0 requested-size 0
wait-settled 20s
info driver vm0
expect it stopped:
expect unmovable, first at PFN 0x
info obstacles vm0
expect frames of dma
guest offline memory40
expect-error unmovable
EOF
# shellcheck disable=SC2086
limited $two_nodes -seed 1 -workload trace=traces/a-compile-short.ptr.xz -scenario "$dir/stuck.scenario" \
    >"$dir/stuck" 2>&1 </dev/null
is 'a shrink and an offline that unmovable frames stop' $? 0
has 'the block is named with the frames' "$(cat "$dir/stuck")" \
    "^Error: memory40 can't go offline: .*[0-9]+ frames.*PFN 0x[0-9a-f]+.*dma"
done_testing
