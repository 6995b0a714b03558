#!/bin/sh
# SPDX-License-Identifier: MIT
# The prompt on a terminal: editing, history, completion, what is printed while somebody types, the way out.
# socat gives the program a terminal of its own.
. tests/support/tap.sh
. tests/support/machine.sh
export TERM=xterm

# type_in KEYS...: starts the machine on a terminal, waits for the prompt, types each argument (as printf has
# it), and ends with Ctrl-D; an argument that begins with @ is waited for on the screen. What was on the screen
# is in $screen, the exit code in $dir/code.
type_in() {
    : >"$dir/screen"
    rm -f "$dir/code"
    (
        until_true grep -q '(pleat)' "$dir/screen"
        for keys in "$@"; do
            case $keys in
            @*) until_true grep -q -e "${keys#@}" "$dir/screen" ;;
            # shellcheck disable=SC2059
            *) printf "$keys" ;;
            esac
        done
        # Before the program reads keys by itself, Ctrl-D is the terminal's and gone.
        tries=0
        until [ -s "$dir/code" ] || [ $tries -ge 100 ]; do
            printf '\004'
            sleep 0.1
            tries=$((tries + 1))
        done
    ) | limited socat -t2 - EXEC:"sh $dir/machine",pty,setsid,ctty >"$dir/screen"
    screen=$(tr -d '\r' <"$dir/screen")
}
# socat has quotes and commas of its own: the command comes from a file.
printf 'trap : INT\n%s\necho $? >%s/code\n' "$(echo "$one_device" | tr '\n' ' ')" "$dir" >"$dir/machine"

type_in 'info status\r' 'info mem\t\t' '_s\t\r' 'qom-g\t vm\t req\t\r' 'stop\r' 'info status\r' '@paused' '\033[A\033[A' \
    '@status.*stop' '\025' 'fault_a\t' '@fault_a.*dd' '\025' 'nosuch\r'
has 'a banner' "$screen" "^Pleat [0-9.]+ monitor - type 'help' for more information"
has 'a command' "$screen" '^VM status: running$'
has 'two candidates are listed' "$screen" '^memory-devices +memory_size_summary'
has 'a command below another is completed' "$screen" '^base memory: 268435456$'
has 'a device and its property are completed' "$screen" '^67108864$'
has 'stop' "$screen" '^VM status: paused$'
has 'history' "$screen" '\(pleat\) .*stop'
has 'a refusal' "$screen" "^unknown command: 'nosuch'$"
is 'Ctrl-D is the way out' "$(cat "$dir/code")" 0
has 'with a summary' "$screen" '^.*Ran for '

type_in 'object_d\t m\t\025' 'guest off\t mem\t' '\025' 'guest online memory0 pref\t\025' 'help info nu\t\r' 'qom-get /mach\t\025' \
    'info blocks\r'
has 'ids of objects are completed' "$screen" 'object_d.*el  m.*em0'
has 'memory blocks too' "$screen" 'guest off.*line.*memory'
has 'zones too' "$screen" 'memory0 .*PreferMovable'
has 'help completes commands' "$screen" '^info numa  -- '
has 'colours on a terminal' "$screen" "$(printf '\033')\\[3[0-9]m"
NO_COLOR=1 type_in 'info blocks\r'
is 'none when NO_COLOR says so' "$(printf '%s\n' "$screen" | grep -c "$(printf '\033')\\[3")" 0

type_in 'info stat' '\003'
has 'Ctrl-C ends it' "$screen" 'Ran for '
is 'well' "$(cat "$dir/code")" 0

# A line of the log that comes while somebody types: it is printed above, and the typed part comes again.
type_in 'qom-set vm0 requested-size 128M\rinfo sta' '@vm0: 134217728 of 134217728 bytes plugged' 'tus\r'
has 'the driver tells that it is done' "$screen" 'vm0: 134217728 of 134217728 bytes plugged after'
has 'and what was typed goes on' "$screen" '^VM status: running$'

# After a scenario the prompt stays.
printf 'echo It begins.\nqom-set vm0 requested-size 96M\nwait-settled\nqom-get vm0 size\nexpect 100663296\n' >"$dir/scenario"
sed -i "s|^\(.*pleat.*\)$|\1 -scenario $dir/scenario|" "$dir/machine"
type_in 'info status\r'
has 'a scenario runs first' "$screen" '^It begins\.$'
has 'and a person may go on' "$screen" '^VM status: running$'
is 'to a good end' "$(cat "$dir/code")" 0
done_testing
