#!/bin/sh
# SPDX-License-Identifier: MIT
# The QMP socket and its clients: those that hang up in the middle of a word, that never read, that come
# twenty at a time, and what else may be where the socket is to be.
. tests/support/tap.sh
. tests/support/machine.sh
socket=$dir/qmp
negotiate='{"execute":"qmp_capabilities"}'

# say TEXT PATTERN: sends it, waits for an answer with the pattern or for the other side to hang up, and prints all
# that was answered.
say() {
    : >"$dir/said"
    rm -f "$dir/over"
    { printf '%s' "$1"; until_true heard "$2"; } |
        { limited socat - UNIX-CONNECT:"$socket" >"$dir/said"; : >"$dir/over"; }
    tr -d '\r' <"$dir/said"
}
heard() {
    grep -q "$1" "$dir/said" || test -e "$dir/over"
}
# hang_up_after TEXT: sends it and is gone, whatever is answered.
hang_up_after() {
    printf '%s' "$1" | limited socat -u - UNIX-CONNECT:"$socket"
}
alive() {
    [ "$(say "$negotiate{\"execute\":\"query-status\",\"id\":1}" '"id": *1' |
        jq -r 'select(.id == 1) | .return.status')" = running ]
}

start machine $one_device -qmp unix:"$socket",server=on,wait=off
machine=$pid
until_true test -S "$socket"
ok 'it serves' alive
hang_up_after '{"execute":"qmp_capabilities"}{"execute":"query-st'
ok 'half a message, then gone' alive
hang_up_after "$negotiate"
ok 'a command, and gone before its answer' alive
clients=
i=0
while [ $i -lt 20 ]; do
    hang_up_after "$negotiate{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info blocks\"}}" &
    clients="$clients $!"
    i=$((i + 1))
done
# Some are turned away, and hear of it.
for client in $clients; do wait "$client" 2>/dev/null; done
ok 'twenty at once, and gone' until_true alive

long=$(head -c 300000 /dev/zero | tr '\0' ' ')
has 'a message that is too long is refused' "$(say "{$long}" error | tail -n 1)" 'JSON token size limit exceeded'
deep=$(head -c 1000 /dev/zero | tr '\0' '[')
has 'one that is too deep too' "$(say "$deep
" error | tail -n 1)" 'JSON nesting depth limit exceeded'
head -c 200000 /dev/urandom >"$dir/rubbish"
limited socat -u OPEN:"$dir/rubbish" UNIX-CONNECT:"$socket" 2>/dev/null
ok 'a stream of rubbish ends nothing' alive

# One that asks for more than a hundred megabytes and reads nothing: what waits for it is bounded, and it isn't heard
# any further.
{ printf '%s\n' "$negotiate"; yes '{"execute":"query-commands"}' | head -n 200000; } >"$dir/flood"
resident() {
    awk '/^VmRSS/ { print $2 }' /proc/$machine/status
}
sent() {
    awk '/^wchar/ { print $2 }' /proc/$deaf/io
}
held_up() {
    sent_before=$(sent) && sleep 0.3 && [ "$sent_before" -gt 1000 ] && [ "$(sent)" = "$sent_before" ]
}
before=$(resident)
start deaf socat -u OPEN:"$dir/flood" UNIX-CONNECT:"$socket"
deaf=$pid
ok 'a client that never reads is held up' until_true held_up
ok 'and hinders nobody' alive
ok 'and takes little memory' test $(($(resident) - before)) -lt 49152
kill $deaf
until_over $deaf

# More than there is room for: some are turned away, the rest is served.
mkfifo "$dir/never"
clients=
i=0
while [ $i -lt 18 ]; do
    socat "UNIX-CONNECT:$socket" STDIO <"$dir/never" >"$dir/many.$i" &
    clients="$clients $!"
    i=$((i + 1))
done
started="$started $clients"
exec 4>"$dir/never"
# greeted COUNT: so many have been.
greeted() {
    [ "$(grep -l QMP "$dir"/many.* | wc -l)" -eq "$1" ]
}
# gone COUNT: so many clients have ended. Not for a subshell, which doesn't learn of the end of its siblings.
gone() {
    left=0
    for client in $clients; do
        ! kill -0 "$client" 2>/dev/null || left=$((left + 1))
    done
    [ $left -eq $((18 - $1)) ]
}
until_true gone 2
is 'two of eighteen are turned away' $? 0
ok 'sixteen are served at once' until_true greeted 16
exec 4>&-
for client in $clients; do until_over "$client"; done
ok 'and others when they are gone' until_true alive

has 'a second machine on the same path is refused' "$(limited $one_device -qmp unix:"$socket",server=on,wait=off </dev/null 2>&1)" \
    'somebody listens on .* already'
ok 'and the first one still serves' alive
kill -TERM $machine
until_over $machine
is 'SIGTERM ends it well' $code 0
ok 'and its socket is gone' test ! -e "$socket"

start killed $one_device -qmp unix:"$socket",server=on,wait=off
until_true test -S "$socket"
kill -9 $pid
until_over $pid
ok 'a killed machine leaves its socket' test -S "$socket"
start next $one_device -qmp unix:"$socket",server=on,wait=off
ok 'the next one replaces it' until_true alive
kill -INT $pid
until_over $pid
is 'SIGINT ends it well' $code 0
ok 'and takes the socket away' test ! -e "$socket"

echo precious >"$dir/file"
has 'a file is left alone' "$(limited $one_device -qmp unix:"$dir/file",server=on,wait=off </dev/null 2>&1)" "isn't a socket"
is 'with what is in it' "$(cat "$dir/file")" precious
has 'a path that is too long' "$(limited $one_device -qmp unix:"$dir/$(head -c 120 /dev/zero | tr '\0' x)",server=on,wait=off </dev/null 2>&1)" \
    'too long, it must be less than 108 bytes'
has 'a folder that is not there' "$(limited $one_device -qmp unix:"$dir/nosuch/qmp",server=on,wait=off </dev/null 2>&1)" \
    "can't listen on .*No such file or directory"

# wait=on: the guest starts with the first client.
start waiting $one_device -qmp unix:"$socket",server=on,wait=on
until_true test -S "$socket"
ok 'wait=on says so' until_true grep -q 'waiting for a connection' "$dir/waiting.out"
ok 'a client lets it start' until_true alive
kill -HUP $pid
until_over $pid
is 'SIGHUP ends it well' $code 0

done_testing
