#!/bin/sh
# SPDX-License-Identifier: MIT
# An odd ACPI table costs a line on the console and what it would have said, and the port runs on without it. QEMU
# takes tables from a file, but mends their lengths and checksums: tests/ports/test_acpi.c has damage to those.
. tests/support/tap.sh
. tests/support/qemu.sh

# table SIGNATURE REVISION HEX: makes $dir/table; HEX is what comes behind the header.
table() {
    perl -e 'my ($signature, $revision, $hex) = @ARGV;
        $hex =~ s/\s//g;
        print pack("a4VCCa6a8Va4V", $signature, 36 + length($hex) / 2, $revision, 0, "PLEAT", "TEST", 1, "TEST", 1),
            pack("H*", $hex)' "$@" >"$dir/table"
}

le() {
    perl -e 'print unpack("H*", $ARGV[0] == 8 ? pack("Q<", hex $ARGV[1]) : pack("V", hex $ARGV[1]))' "$@"
}

srat_head=000000000000000000000000

# memory DOMAIN START BYTES FLAGS: an entry of an SRAT.
memory() {
    echo "0128$(le 4 "$1")0000$(le 8 "$2")$(le 8 "$3")00000000$(le 4 "$4")0000000000000000"
}

# cpu DOMAIN APIC-ID
cpu() {
    echo "0010$1$2010000000000000000000000"
}

# The control: what is given so is read.
table SRAT 3 "$srat_head $(cpu 05 00) $(cpu 09 01) $(memory 5 0 20000000 1) $(memory 9 20000000 20000000 1)
    $(memory 9 100000000 80000000 3)"
qemu_run pleat-contract 'show=machine code=7' -M q35 -cpu max -smp 2 -m 1G -acpitable "file=$dir/table"
is 'a sound SRAT: code' "$qemu_code" 7
has 'a sound SRAT: a node' "$console" '^# node 1: proximity domain 9$'
has 'a sound SRAT: its CPU' "$console" '^# CPU 1: node 1$'
has 'a sound SRAT: its memory' "$console" '^# span 0x20000 to 0x[0-9a-f]+, node 1, free$'
has 'a sound SRAT: its area' "$console" '^# area at 0x100000000, 0x80000000 bytes, node 1$'

# odd NAME LINE OPTION...: with $dir/table as well, a line of the console matches, and all checks of the port pass.
odd() {
    name=$1 line=$2
    shift 2
    qemu_run pleat-contract 'code=7' -cpu max -smp 2 -m 512M -acpitable "file=$dir/table" "$@"
    is "$name: the port runs" "$qemu_code" 7
    has "$name: it says so" "$console" "$line"
    is "$name: one line" "$(printf '%s\n' "$console" | grep -cE '^(ACPI|memory map|start_info|firmware): ')" 1
}

table SRAT 3 "$srat_head $(memory 5 0 20000000 1) 0000"
odd 'an entry without a length' '^ACPI: left out: SRAT at 0x[0-9a-f]+: an entry has no length$' -M q35

table SRAT 3 "$srat_head $(memory 5 0 20000000 1) 01280000"
odd 'an entry that is cut off' '^ACPI: left out: SRAT at 0x[0-9a-f]+: an entry runs past its end$' -M q35

table SRAT 3 00
odd 'an SRAT that is too short' '^ACPI: left out: SRAT at 0x[0-9a-f]+: too short$' -M q35

table SRAT 3 "$srat_head $(memory 5 0 20000000 1) $(memory 6 1fffffff 1 3)"
odd 'memory of two domains' '^ACPI: SRAT: left out: it overlaps another.s: memory at 0x1fffffff$' -M q35

table SRAT 3 "$srat_head $(memory 5 0 20000000 1) $(memory 6 ffffffffffff0000 20000 3)"
odd 'memory past the end' '^ACPI: SRAT: left out: past the end of all addresses: memory at 0xffffffffffff0000$' -M q35

table SRAT 3 "$srat_head $(memory 5 10000000 10000000 1)"
odd 'memory of no domain' '^memory map: of no node, so of node 0: 0x[0-9a-f]+ bytes at 0x1000$' -M q35

many=$(memory 0 0 20000000 1)
for domain in 1 2 3 4 5 6 7 8 9 a b c d e f 10; do
    many="$many $(memory $domain ${domain}00000000 1000 1)"
done
table SRAT 3 "$srat_head $many"
odd 'too many domains' '^ACPI: SRAT: no room for one more node, so part of node 0: domain 0x10$' -M q35

table SLIT 1 "$(le 8 2)0a140a"
odd 'a SLIT of odd size' '^ACPI: left out: SLIT at 0x[0-9a-f]+: its length isn.t that of its number of localities$' -M q35

table SLIT 1 "$(le 8 1)0b"
odd 'a SLIT with an odd distance' '^ACPI: left out: SLIT at 0x[0-9a-f]+: a distance ' -M q35

table APIC 1 "$(le 4 fee00000)00000000"
odd 'a second MADT' '^ACPI: left out: APIC at 0x[0-9a-f]+: a second one$' -M q35

table MCFG 1 "$(le 8 0)$(le 8 b0000000)0000ff0000000000"
odd 'buses in the wrong order' '^ACPI: MCFG: left out: its last bus is below its first, address 0x[0-9a-f]+$' -M pc

# What PVH hands over, too.
long=$(printf '%3000s' '' | tr ' ' x)
qemu_run pleat-contract "code=7 $long" -M q35 -cpu max -smp 1 -m 256M
is 'a command line that is too long: the port runs' "$qemu_code" 7
has 'a command line that is too long: it is cut' "$console" \
    '^start_info: the command line is cut: no end within bytes 0x800$'
done_testing
