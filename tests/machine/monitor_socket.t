#!/bin/sh
# SPDX-License-Identifier: MIT
# The QMP socket and its clients: those that hang up in the middle of a word, that never read, that come
# twenty at a time, and what else may be where the socket is to be.
. tests/support/tap.sh
. tests/support/machine.sh
socket=$dir/qmp
negotiate='{"execute":"qmp_capabilities"}'

# say TEXT [SECONDS]: sends it and prints what is answered within the time.
say() {
    printf '%s' "$1" | timeout 10 socat -t"${2:-0.3}" - UNIX-CONNECT:"$socket" | tr -d '\r'
}
alive() {
    [ "$(say "$negotiate{\"execute\":\"query-status\",\"id\":1}" | jq -r 'select(.id == 1) | .return.status')" = running ]
}

start machine $one_device -qmp unix:"$socket",server=on,wait=off
machine=$pid
until_true test -S "$socket"
ok 'it serves' alive
say '{"execute":"qmp_capabilities"}{"execute":"query-st' 0 >/dev/null
ok 'half a message, then gone' alive
printf '%s' "$negotiate" | timeout 5 socat -u - UNIX-CONNECT:"$socket"
ok 'a command, and gone before its answer' alive
i=0
while [ $i -lt 20 ]; do
    printf '%s{"execute":"human-monitor-command","arguments":{"command-line":"info blocks"}}' "$negotiate" |
        timeout 5 socat -u - UNIX-CONNECT:"$socket" &
    i=$((i + 1))
done
wait $! 2>/dev/null
ok 'twenty at once, and gone' until_true alive

long=$(head -c 300000 /dev/zero | tr '\0' ' ')
has 'a message that is too long is refused' "$(say "{$long}" | tail -n 1)" 'JSON token size limit exceeded'
deep=$(head -c 1000 /dev/zero | tr '\0' '[')
has 'one that is too deep too' "$(say "$deep
" | tail -n 1)" 'JSON nesting depth limit exceeded'
is 'a stream of rubbish ends nothing' \
    "$(head -c 200000 /dev/urandom | timeout 10 socat -t0.3 - UNIX-CONNECT:"$socket" >/dev/null; alive && echo alive)" alive

# One that sends a great deal and reads nothing: what waits for it is bounded. It is stopped, so it can't read.
mkfifo "$dir/never"
socat "UNIX-CONNECT:$socket" STDIO <"$dir/never" >/dev/null &
deaf=$!
started="$started $deaf"
exec 4>"$dir/never"
printf '%s' "$negotiate" >&4
sleep 0.2
kill -STOP $deaf
before=$(awk '/VmRSS/ { print $2 }' /proc/$machine/status)
one='{"execute":"query-commands"}'
(
    i=0
    while [ $i -lt 20000 ]; do
        printf '%s%s%s%s%s' "$one" "$one" "$one" "$one" "$one"
        i=$((i + 1))
    done
) | timeout 3 socat -u - "UNIX-CONNECT:$socket" 2>/dev/null
ok 'a client that never reads hinders nobody' alive
after=$(awk '/VmRSS/ { print $2 }' /proc/$machine/status)
ok 'and takes little memory' test $((after - before)) -lt 20480
kill -CONT $deaf
exec 4>&-

# More than there is room for: some are turned away, the rest is served.
clients=
i=0
while [ $i -lt 18 ]; do
    timeout 20 socat "UNIX-CONNECT:$socket" STDIO <"$dir/never" >"$dir/many.$i" &
    clients="$clients $!"
    i=$((i + 1))
done
started="$started $clients"
exec 4>"$dir/never"
sleep 0.5
is 'sixteen are served at once' "$(grep -l QMP "$dir"/many.* | wc -l | tr -d ' ')" 16
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
has 'wait=on says so' "$(until_true test -s "$dir/waiting.out"; cat "$dir/waiting.out")" 'waiting for a connection'
ok 'a client lets it start' until_true alive
kill -HUP $pid
until_over $pid
is 'SIGHUP ends it well' $code 0

done_testing
