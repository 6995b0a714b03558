#!/bin/sh
# SPDX-License-Identifier: MIT
# The scenarios that use QEMU's words only, run by `pleat drive` on Pleat's guest on QEMU as they run in Pleat's own
# machine; and resets of that machine, with nothing on its way and in the middle of a change.
. tests/support/tap.sh
. tests/support/qemu.sh

MiB=1048576

# A guest here sees no PCI function that is plugged later, and QEMU lets virtio-mem devices go since 8.2.
for scenario in tests/scenarios/*.scenario; do
    name=$(basename "$scenario" .scenario)
    case $name in pleat-* | hotplug-*) continue ;; esac
    sed '/^device_del/,+1d' "$scenario" >"$dir/scenario"
    # shellcheck disable=SC2046
    qemu_start pleat-guest run -M pc -action reboot=reset $(sed -n 's/^# machine: //p' "$scenario")
    ok "$name: the guest runs" qemu_wait '^guest: runs'
    code=0
    timeout -k 5 60 "$build/pleat" drive --qmp "$dir/qmp" run "$dir/scenario" >"$dir/out" 2>&1 </dev/null || code=$?
    is "$name: exit code" "$code$(grep '^pleat' "$dir/out")" 0
    # `q` is for a guest that has come so far again.
    ok "$name: the guest runs still" qemu_wait '^guest: runs' \
        $((1 + $(grep -c '^system_reset' "$dir/scenario")))
    qemu_type q
    qemu_end
    is "$name: the guest's code" "$qemu_code" 0
    has "$name: every frame is accounted for, with its content" "$console" '^guest: ended, all is well$'
done

# resize_and_reset BYTES: one right behind the other.
resize_and_reset() {
    printf '%s\n' '{"execute": "qmp_capabilities"}' '{"execute": "qom-set", "arguments": {"path":
        "/machine/peripheral/vm0", "property": "requested-size", "value": '"$1"'}}' '{"execute": "system_reset"}' |
        timeout 20 socat -t 10 - "UNIX-CONNECT:$dir/qmp" >/dev/null
}
qemu_start pleat-guest 'run workload=synthetic,preset=20,fill=50%' -M q35 -cpu max -smp 2 -m 512M,maxmem=8G \
    -action reboot=reset -object memory-backend-memfd,id=mem0,size=4G,reserve=off \
    -device virtio-mem-pci,id=vm0,memdev=mem0,requested-size=256M
ok 'in the middle: the guest runs' qemu_wait '^guest: workload holds'
boots=1
for size in 4096 0 2048 128; do
    resize_and_reset $((size * MiB))
    boots=$((boots + 1))
    ok "in the middle of a change to $size MiB: it boots again" qemu_wait '^guest: runs' $boots
done
ok 'in the middle: what was asked for last is there' qemu_wait '^virtio-mem .*: 128 MiB as requested'
is 'in the middle: the device says so, too' \
    "$(qmp '{"execute": "query-memory-devices"}' | jq -c '.return[0].data.size')" $((128 * MiB))
qemu_type q
qemu_end
is "in the middle: the guest's code" "$qemu_code" 0
has 'in the middle: every frame is accounted for, with its content' "$console" '^guest: ended, all is well$'
done_testing
