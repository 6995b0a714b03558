#!/bin/sh
# SPDX-License-Identifier: MIT
# The man page: well-formed, and with every command, option and fault that there is and none that there isn't.
. tests/support/tap.sh
. tests/support/machine.sh
page=docs/pleat.1
text=$(mandoc -T ascii $page | sed 's/.\x08//g')
run_help=$("$pleat" help run)

# named WHAT WORDS...: each of the words stands in the page by itself.
named() {
    what=$1
    shift
    missing=
    for word in "$@"; do
        printf '%s\n' "$text" | grep -qE -e "(^|[^a-z_-])$word($|[^a-z_-])" || missing="$missing $word"
    done
    is "the page has every $what" "$missing" ''
}
# known WHAT WORDS KNOWN: each of the words is one of those that the program knows.
known() {
    unknown=
    for word in $2; do
        printf '%s\n' "$3" | grep -qxF -e "$word" || unknown="$unknown $word"
    done
    is "the page has no $1 that isn't there" "$unknown" ''
}

is 'mandoc finds nothing wrong with it' "$(mandoc -T lint $page 2>&1)" ''

commands=$("$pleat" help | awk '/^Commands/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')
# shellcheck disable=SC2086
named 'command of the program' $commands
known 'command of the program' "$(sed -n 's/^\.It Nm Cm \([a-z]*\).*/\1/p' $page)" "$commands"

options=$(printf '%s\n' "$run_help" | sed -n 's/^  \(-[a-zA-Z-]*\).*/\1/p')
accepted=$(printf '%s\n' "$run_help" | sed -n 's/^Accepted.*: //p' | tr ' ' '\n')
# shellcheck disable=SC2086
named 'option of run' $options $accepted
known 'option of run' "$(sed -n '/^\.Sh OPTIONS OF RUN/,/^\.Sh WORK/s/^\.It Fl \([a-zA-Z-]*\).*/-\1/p' $page)" "$options"

faults=$(printf '%s\n' "$run_help" | awk '/^Faults/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')
# shellcheck disable=SC2086
named fault $faults
known fault "$(sed -n '/^\.Sh FAULTS/,/^\.El/s/^\.It Cm //p' $page | tr -d , )" "$faults"

for command in drive replay trace; do
    # shellcheck disable=SC2046
    named "option of $command" $("$pleat" help $command | grep -oE -e '--[a-z-]+' | sort -u)
done

monitor=$(printf 'help\n' | limited "$pleat" run -m 128M | sed -n 's/^\([a-z_-]*\).* -- .*/\1/p')
# shellcheck disable=SC2086
named 'command of the monitor' $monitor
for table in info guest; do
    below=$(printf 'help %s\n' $table | limited "$pleat" run -m 128M | sed -n "s/^$table \\([a-z_-]*\\) .* -- .*/\\1/p;s/^$table \\([a-z_-]*\\)  -- .*/\\1/p")
    for word in $below; do
        has "the page has $table $word" "$text" "$table $word"
    done
    known "$table" "$(sed -n "s/^\\.It Ic $table \\([a-z_-]*\\).*/\\1/p" $page)" "$below"
done

qmp=$("$pleat" run -m 128M -qmp unix:"$dir/qmp",server=on,wait=off -duration 30s </dev/null >/dev/null &
    until_true test -S "$dir/qmp"
    printf '{"execute":"qmp_capabilities"}{"execute":"query-commands","id":1}' | limited socat -t10 - "UNIX:$dir/qmp" |
        jq -r 'select(.id == 1) | .return[].name'
    kill $!)
# shellcheck disable=SC2086
named 'command of QMP' $qmp
known 'command of QMP' "$(sed -n '/^\.Sh QMP/,/^the events/s/^\.Ic //p' $page | tr -d , )" "$qmp"
done_testing
