#!/bin/sh
# SPDX-License-Identifier: MIT
# The scenarios that use QEMU's words only, run by `pleat drive` on a Linux guest of QEMU as they run in Pleat's
# own machine.
. tests/support/tap.sh
. tests/support/machine.sh
. tests/support/linux_guest.sh

# The command lines are those of tests/machine/scenarios.t; `pc` is the machine type that `pleat run` has by default. A reset would end
# this guest. QEMU lets virtio-mem devices go since 8.2; an older one is spared that.
old=$(qemu-system-x86_64 --version | awk '/version/ { split($4, v, "."); print v[1] * 100 + v[2] < 802 }')
for scenario in tests/scenarios/*.scenario; do
    name=$(basename "$scenario" .scenario)
    case $name in pleat-* | system-reset) continue ;; esac
    # shellcheck disable=SC2046
    guest -M pc $(sed -n 's/^# machine: //p' "$scenario")
    cp "$scenario" "$dir/scenario"
    [ "$old" != 1 ] || case $name in
    hotplug-*) sed -i '/^qom-set vm1 requested-size 0/,$d' "$dir/scenario" ;;
    *) sed -i '/^device_del/,+1d' "$dir/scenario" ;;
    esac
    drive run "$dir/scenario"
    is "$name" "$code/$(cat "$dir/err")" 0/
    off
done
done_testing
