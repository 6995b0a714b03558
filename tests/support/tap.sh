# SPDX-License-Identifier: MIT
# The test scripts' way to print TAP. Read it with `.` from the root of the tree; end with done_testing.

tap_count=0
tap_failed=0

# ok DESCRIPTION COMMAND...   passes if the command succeeds; its output is shown if it doesn't.
ok() {
    tap_description=$1
    shift
    tap_count=$((tap_count + 1))
    tap_exit=0
    tap_output=$("$@" 2>&1) || tap_exit=$?
    if [ $tap_exit -eq 0 ]; then
        echo "ok $tap_count - $tap_description"
    else
        tap_failed=$((tap_failed + 1))
        echo "not ok $tap_count - $tap_description"
        printf '%s\n' "$tap_output" "(exit $tap_exit of: $*)" | sed 's/^/# /' >&2
    fi
}

# is DESCRIPTION GOT WANTED   passes if the two texts are the same.
is() {
    tap_count=$((tap_count + 1))
    if [ "$2" = "$3" ]; then
        echo "ok $tap_count - $1"
    else
        tap_failed=$((tap_failed + 1))
        echo "not ok $tap_count - $1"
        printf 'got:\n%s\nwanted:\n%s\n' "$2" "$3" | sed 's/^/# /' >&2
    fi
}

# has DESCRIPTION TEXT PATTERN   passes if a line of the text matches the extended regular expression.
has() {
    tap_count=$((tap_count + 1))
    if printf '%s\n' "$2" | grep -qE -e "$3"; then
        echo "ok $tap_count - $1"
    else
        tap_failed=$((tap_failed + 1))
        echo "not ok $tap_count - $1"
        printf 'no line matches: %s\nin:\n%s\n' "$3" "$2" | sed 's/^/# /' >&2
    fi
}

# skip_all WHY   ends a script that can't do its work here.
skip_all() {
    echo "1..0 # SKIP $1"
    exit 0
}

done_testing() {
    echo "1..$tap_count"
    [ $tap_failed -eq 0 ]
    exit
}
