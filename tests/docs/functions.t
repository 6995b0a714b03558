#!/usr/bin/perl
# SPDX-License-Identifier: MIT
# Every public function, inline ones included, is in the table of docs/EMBEDDING.md, once, and nothing else.
use strict;
use warnings;
use Test::More;

my $build = $ENV{BUILD} // 'build';
my %public;
for my $header (glob 'include/pleat/*.h include/pleat/*/*.h') {
    open my $in, '<', $header or die "$header: $!\n";
    my $text = join '', <$in>;
    $text =~ s{/\*.*?\*/}{}gs;
    $public{$_} = $header for $text =~ /\b(pleat_\w+)\s*\(/g;
}
# Of what looks so, functions are what the library defines and what is inline.
my %function = map { $_ => 1 } map { /^\S+ T (pleat_\w+)$/ ? $1 : () } `nm --defined-only $build/libpleat.a`;
for my $header (glob 'include/pleat/*.h include/pleat/*/*.h') {
    open my $in, '<', $header or die "$header: $!\n";
    $function{$_} = 1 for join('', <$in>) =~ /^static inline [^(;]*?\b(pleat_\w+)\(/mg;
}

open my $in, '<', 'docs/EMBEDDING.md' or die "docs/EMBEDDING.md: $!\n";
my %row;
while (<$in>) {
    next if !/^\| [`*]/ || !/^\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|$/;
    $row{$_}++ for $1 =~ /`(pleat_\w+)`/g;
}

ok(%row > 100, 'the table is found');
is(join(' ', grep { $function{$_} && !$row{$_} } sort keys %public), '', 'every public function is in it');
is(join(' ', grep { $row{$_} > 1 } sort keys %row), '', 'each one once');
is(join(' ', grep { !$public{$_} || !$function{$_} } sort keys %row), '', 'and nothing else');
done_testing();
