#!/bin/sh
# SPDX-License-Identifier: MIT
# QMP from outside, as scripts written for QEMU use it: socat on the socket, jq on the answers.
. tests/support/tap.sh
. tests/support/machine.sh
socket=$dir/qmp

# connect: a client on file descriptor 3, what it hears in $dir/client.
connect() {
    [ -p "$dir/in" ] || mkfifo "$dir/in"
    : >"$dir/client"
    socat - UNIX-CONNECT:"$socket" <"$dir/in" >"$dir/client" &
    client=$!
    started="$started $client"
    exec 3>"$dir/in"
}
disconnect() {
    exec 3>&-
    until_over $client
}

# ask BODY: sends a command with the next id and prints its answer without it.
ask() {
    # Counted in a file, because this runs in subshells.
    printf . >>"$dir/count"
    id=$(wc -c <"$dir/count")
    printf '{%s,"id":%d}\n' "$1" $id >&3
    until_true answered $id || echo 'no answer'
    cat "$dir/answer"
}
# answered ID: puts the answer into $dir/answer. What comes after it may be there in part only.
answered() {
    grep -qE "\"id\": *$1[,}]" "$dir/client" &&
        { jq -cS "select(.id == $1) | del(.id)" "$dir/client" >"$dir/answer" || test -s "$dir/answer"; }
}
# qmp NAME [ARGUMENTS]
qmp() {
    ask "\"execute\":\"$1\"${2:+,\"arguments\":$2}"
}
# event NAME [FILTER]: waits for an event and prints its data.
event() {
    until_true happened "$@" || echo 'no event'
    cat "$dir/event"
}
# happened NAME [FILTER]: puts the data into $dir/event.
happened() {
    grep -q "\"$1\"" "$dir/client" &&
        { jq -cS "select(.event == \"$1\") | .data | ${2:-.}" "$dir/client" >"$dir/event" || :; } &&
        test -s "$dir/event"
}

begin=$(date +%s)
# shellcheck disable=SC2086
start machine $two_nodes -qmp unix:"$socket",server=on,wait=off
until_true test -S "$socket"
connect
until_true grep -q QMP "$dir/client"
is 'the greeting has its three members' \
    "$(jq -c '[.QMP.version.qemu.major, (.QMP.version.package | type), .QMP.capabilities]' "$dir/client")" \
    '[7,"string",[]]'
is 'nothing is done before negotiation' "$(qmp query-status)" \
    '{"error":{"class":"CommandNotFound","desc":"Expecting capabilities negotiation with '"'qmp_capabilities'"'"}}'
is 'what is not offered is refused' "$(qmp qmp_capabilities '{"enable":["oob"]}')" \
    '{"error":{"class":"GenericError","desc":"Capability oob not available"}}'
is 'negotiation' "$(qmp qmp_capabilities)" '{"return":{}}'
is 'query-status' "$(qmp query-status)" '{"return":{"running":true,"singlestep":false,"status":"running"}}'
is 'query-name, without one' "$(qmp query-name)" '{"return":{}}'
has 'query-version' "$(qmp query-version)" '"package":"pleat .*"major":7'
has 'query-commands' "$(qmp query-commands)" '"name":"qom-set"'
for name in $(qmp query-commands | jq -r '.return[].name'); do
    case $name in
    qmp_capabilities | quit | stop | cont | system_reset) ;;
    *) has "$name answers" "$(qmp "$name" | jq -c 'keys')" '^\["(return|error)"\]$' ;;
    esac
done

is 'query-memory-devices has the fields and values of QEMU' "$(qmp query-memory-devices)" \
    '{"return":[{"data":{"block-size":2097152,"id":"vm0","max-size":8589934592,"memaddr":5368709120,"memdev":"/objects/mem0","node":0,"requested-size":134217728,"size":134217728},"type":"virtio-mem"},{"data":{"block-size":2097152,"id":"vm1","max-size":8589934592,"memaddr":13958643712,"memdev":"/objects/mem1","node":1,"requested-size":83886080,"size":83886080},"type":"virtio-mem"}]}'
is 'query-memory-size-summary' "$(qmp query-memory-size-summary)" \
    '{"return":{"base-memory":4294967296,"plugged-memory":218103808}}'
has 'qom-list of a container' "$(qmp qom-list '{"path":"/machine/peripheral"}')" \
    '"name":"vm0","type":"child<virtio-mem-pci>"'
has 'qom-list of a device' "$(qmp qom-list '{"path":"vm0"}')" '"name":"requested-size","type":"size"'
is 'qom-list of what is not there' "$(qmp qom-list '{"path":"nosuch"}')" \
    '{"error":{"class":"DeviceNotFound","desc":"Device '"'nosuch'"' not found"}}'
is 'qom-get' "$(qmp qom-get '{"path":"/machine/peripheral/vm1","property":"requested-size"}')" \
    '{"return":83886080}'
has 'qom-get of no property' "$(qmp qom-get '{"path":"vm1","property":"nosuch"}')" \
    "GenericError.*Property 'virtio-mem-pci.nosuch' not found"

is 'qom-set' "$(qmp qom-set '{"path":"vm1","property":"requested-size","value":1073741824}')" '{"return":{}}'
has 'the event of the new size' "$(event MEMORY_DEVICE_SIZE_CHANGE 'select(.size == 1073741824)')" \
    '{"id":"vm1","qom-path":"/machine/peripheral/vm1","size":1073741824}'
sizes=$(jq -r 'select(.event == "MEMORY_DEVICE_SIZE_CHANGE" and .data.id == "vm1") | .event' "$dir/client" | wc -l)
ok 'its rate is limited to one a second' test "$sizes" -le $(($(date +%s) - begin + 2))
has 'events have a timestamp' "$(jq -c 'select(.event) | .timestamp | keys' "$dir/client")" \
    '^\["microseconds","seconds"\]$'
is 'the new size' "$(qmp qom-get '{"path":"vm1","property":"size"}')" '{"return":1073741824}'
is 'a size that is no multiple of the block' \
    "$(qmp qom-set '{"path":"vm0","property":"requested-size","value":1000}')" \
    '{"error":{"class":"GenericError","desc":"'"'requested-size' has to be multiples of 'block-size'"' (0x200000)"}}'
is 'a size over the maximum' \
    "$(qmp qom-set '{"path":"vm0","property":"requested-size","value":107374182400}')" \
    '{"error":{"class":"GenericError","desc":"'"'requested-size' cannot exceed the memory backend size"'(0x200000000)"}}'
for value in '"1G"' '[1]' 1.5 null true; do
    has "$value for a size" "$(qmp qom-set '{"path":"vm0","property":"requested-size","value":'"$value"'}')" \
        "GenericError.*Parameter 'requested-size' expects uint64\""
done
has 'an unknown device' "$(qmp qom-set '{"path":"vm9","property":"requested-size","value":0}')" DeviceNotFound
has 'a property that is read-only' "$(qmp qom-set '{"path":"vm0","property":"size","value":0}')" \
    "Property 'virtio-mem.size' is not writable"
is 'none of it changed anything' "$(qmp qom-get '{"path":"vm0","property":"requested-size"}')" '{"return":134217728}'

is 'the other language' "$(qmp human-monitor-command '{"command-line":"info status"}')" \
    '{"return":"VM status: running\r\n"}'
has 'and of a CPU that is not there' \
    "$(qmp human-monitor-command '{"command-line":"info status","cpu-index":4}')" "'cpu-index' expects a CPU number"
is 'its complaints' "$(qmp human-monitor-command '{"command-line":"foo"}')" \
    '{"return":"unknown command: '"'foo'"'\r\n"}'

qmp stop >/dev/null
event STOP >/dev/null
is 'stop' "$(qmp query-status)" '{"return":{"running":false,"singlestep":false,"status":"paused"}}'
qmp system_reset >/dev/null
is 'a reset of what is stopped' "$(qmp query-status | jq -c .return.status)" '"prelaunch"'
qmp cont >/dev/null
is 'cont, and its event without data' "$(event RESUME)" null

printf '[]\n1\n{"execute":7}\n}\n{"execute":"query-status","execute":"stop"}\n\377\n' >&3
printf '{"execute":"\303\050"}\n{"execute":"x","id":123456789012345678901234567890}\n' >&3
is 'after rubbish it goes on' "$(qmp query-name | jq -c keys)" '["return"]'
is 'every piece of rubbish was answered' \
    "$(jq -c 'select(.error and (has("id") | not)) | .error.class' "$dir/client" | sort | uniq -c | tr -s ' ')" \
    ' 8 "GenericError"'

printf '{"execute":"query-status","id":"x1"}{"execute":"que' >&3
sleep 0.1
printf 'ry-status","id":"x2"}' >&3
ok 'two messages in one write, one in two' until_true grep -q '"x2"' "$dir/client"
has 'both were answered' "$(grep -c '"x[12]"' "$dir/client")" '^2$'

is 'object-add' "$(qmp object-add '{"qom-type":"memory-backend-ram","id":"mem2","size":1073741824}')" '{"return":{}}'
has 'an id twice' "$(qmp object-add '{"qom-type":"memory-backend-ram","id":"mem2","size":1073741824}')" \
    "attempt to add duplicate property 'mem2' to object"
has 'a text for its size' "$(qmp object-add '{"qom-type":"memory-backend-ram","id":"m","size":"1G"}')" \
    "Parameter 'size' expects uint64"
has 'an unknown type' "$(qmp object-add '{"qom-type":"nosuch","id":"m"}')" \
    "Parameter 'qom-type' does not accept value 'nosuch'"
has 'a file that cannot be opened' \
    "$(qmp object-add '{"qom-type":"memory-backend-file","id":"m","size":4096,"mem-path":"/nosuch/file"}')" \
    'GenericError.*m: /nosuch/file can.t be opened: No such file or directory'
has 'a type with options in it' "$(qmp object-add '{"qom-type":"memory-backend-ram,id=x","id":"m"}')" GenericError
is 'object-del' "$(qmp object-del '{"id":"mem2"}')" '{"return":{}}'
has 'object-del of what is not there' "$(qmp object-del '{"id":"mem2"}')" "GenericError.*object 'mem2' not found"
has 'object-del of what is in use' "$(qmp object-del '{"id":"mem0"}')" "object 'mem0' is in use, can not be deleted"
has 'device_add without room' "$(qmp device_add '{"driver":"virtio-mem-pci","id":"vm2","memdev":"mem0"}')" GenericError
has 'device_add of no model' "$(qmp device_add '{"driver":"nosuch","id":"vm2"}')" \
    "'nosuch' is not a valid device model name"
has 'device_del of what is not there' "$(qmp device_del '{"id":"vm9"}')" "DeviceNotFound.*Device 'vm9' not found"
has 'device_del of memory that is plugged' "$(qmp device_del '{"id":"vm1"}')" \
    "virtio-mem device cannot get unplugged while some of its memory is still plugged"

qmp qom-set '{"path":"vm1","property":"requested-size","value":0}' >/dev/null
event MEMORY_DEVICE_SIZE_CHANGE 'select(.id == "vm1" and .size == 0)' >/dev/null
qmp human-monitor-command '{"command-line":"fault_add guest-refuses-unplug:count=1"}' >/dev/null
is 'device_del that the guest will refuse' "$(qmp device_del '{"id":"vm1"}')" '{"return":{}}'
is 'DEVICE_UNPLUG_GUEST_ERROR' "$(event DEVICE_UNPLUG_GUEST_ERROR)" '{"device":"vm1","path":"/machine/peripheral/vm1"}'
is 'device_del' "$(qmp device_del '{"id":"vm1"}')" '{"return":{}}'
is 'DEVICE_DELETED' "$(event DEVICE_DELETED)" '{"device":"vm1","path":"/machine/peripheral/vm1"}'
has 'device_add' "$(qmp device_add '{"driver":"virtio-mem-pci","id":"vm1","memdev":"mem1","node":1,"requested-size":67108864}')" \
    '^\{"return":\{\}\}$'
has 'what was added is plugged' "$(event MEMORY_DEVICE_SIZE_CHANGE 'select(.id == "vm1" and .size == 67108864)')" vm1

sleep 1.1 # the rate of vm1's size is limited
jq -c 'select(.event) | .event' "$dir/client" >"$dir/before"
is 'system_reset' "$(qmp system_reset)" '{"return":{}}'
is 'RESET comes after what the devices tell of it' \
    "$(jq -c 'select(.event) | .event' "$dir/client" | sed "1,$(wc -l <"$dir/before")d" | grep -m 1 -B 9 RESET | sort -u | tr '\n' ' ')" \
    '"MEMORY_DEVICE_SIZE_CHANGE" "RESET" '
is 'RESET' "$(event RESET | tail -n 1)" '{"guest":false,"reason":"host-qmp-system-reset"}'
disconnect
is 'a client may leave' $code 0

connect
until_true grep -q QMP "$dir/client"
has 'and come back, and negotiates anew' "$(qmp query-status)" CommandNotFound
qmp qmp_capabilities >/dev/null
is 'quit' "$(qmp quit)" '{"return":{}}'
is 'SHUTDOWN comes before its answer' "$(jq -c 'select(.event == "SHUTDOWN") | .data' "$dir/client")" \
    '{"guest":false,"reason":"host-qmp-quit"}'
is 'and is the line before it' "$(tail -n 2 "$dir/client" | head -n 1 | jq -r .event)" SHUTDOWN
until_over $pid
is 'the machine ends well' $code 0
ok 'and takes its socket away' test ! -e "$socket"
exec 3>&-
done_testing
