#!/usr/bin/perl
# SPDX-License-Identifier: MIT
# What the documents say is in the tree: links lead somewhere, names and paths and make targets exist, code
# blocks are what is compiled, outputs are what is printed. Markers before a code block say what it is:
#   <!-- file: PATH -->       the whole of PATH
#   <!-- from: PATH -->       lines of PATH in one piece
#   <!-- output: COMMAND -->  what COMMAND prints, build/ being the build at hand; numbers aside, which are
#                             of the day when scripts/documents put them there
use strict;
use warnings;
use Test::More;

my $build = $ENV{BUILD} // 'build';

sub slurp {
    my ($path) = @_;
    open my $in, '<', $path or return;
    local $/;
    return scalar <$in>;
}

# Files of a tree that isn't a clone of the repository are looked up on the disk.
my @files = split /\n/, `git ls-files -co --exclude-standard 2>/dev/null || find . -type f | sed 's|^\\./||'`;
my @documents = grep { /\.md$/ && -f } @files;
my %top = map { m|^([^/]+)/| ? ($1 => 1) : () } @files;
my $sources = join "\n", map { slurp($_) // '' } grep { /\.(c|h)$/ && -f } @files;
my %name = map { $_ => 1 } $sources =~ /\b(pleat_\w+|PLEAT_\w+)/g;
my $makefile = slurp('Makefile');

# As GitHub makes an anchor of a heading.
sub anchor {
    my ($heading) = @_;
    $heading = lc $heading;
    $heading =~ s/[^\w\- ]//g;
    $heading =~ tr/ /-/;
    return $heading;
}

sub anchors {
    my ($text) = @_;
    $text =~ s/^```.*?^```//msg;
    return map { anchor($_) => 1 } $text =~ /^#+ +(.*?) *$/mg;
}

sub without_code {
    my ($text) = @_;
    $text =~ s/^```.*?^```//msg;
    $text =~ s/`[^`]*`//g;
    return $text;
}

sub without_numbers {
    my ($text) = @_;
    $text =~ s/ *\b(0x[0-9a-f]+|\d[\d.]*)/ 0/g;
    return $text;
}

for my $document (@documents) {
    my $text = slurp($document);
    (my $folder = $document) =~ s|[^/]*$||;
    my @bad;

    for my $link (without_code($text) =~ /\]\(([^)\s]+)\)/g) {
        next if $link =~ /^(https?|mailto):/;
        my ($path, $anchor) = $link =~ /^([^#]*)#?(.*)$/;
        my $target = $path eq '' ? $document : $folder . $path;
        1 while $target =~ s|[^/]+/\.\./||;
        push @bad, $link if !-e $target;
        next if $anchor eq '' || !-f $target;
        my %known = anchors(slurp($target));
        push @bad, $link if !$known{$anchor};
    }
    is("@bad", '', "$document: links lead somewhere");

    (my $prose = $text) =~ s/^<!-- (?:file|from|output): .*? -->\n+```.*?^```//msg;
    # A name that ends in an underscore stands for all that begin so.
    @bad = grep {
        my $word = $_;
        !$name{$word} && !($word =~ /_$/ && grep { index($_, $word) == 0 } keys %name)
    } $prose =~ /\b(pleat_\w+|PLEAT_\w+)/g;
    is("@bad", '', "$document: names are in the sources");

    @bad = ();
    for my $code ($text =~ /`([^`\n]+)`/g) {
        for my $path ($code =~ m{(?:^|(?<=[\s"<=]))([\w.-]+(?:/[\w.*-]+)+/?)}g) {
            my ($first) = $path =~ m|^([^/]+)|;
            next if !$top{$first} || $path =~ /NAME|DIR|TEXT/;
            push @bad, $path if !grep { -e } glob $path;
        }
        for my $target ($code =~ /\bmake ([a-z]+)\b/g) {
            push @bad, "make $target" if $makefile !~ /^$target:/m;
        }
    }
    is("@bad", '', "$document: paths and make targets are there");

    while ($text =~ /^<!-- (file|from|output): (.*?) -->\n+```\w*\n(.*?)^```$/msg) {
        my ($kind, $what, $block) = ($1, $2, $3);
        if ($kind eq 'output') {
            (my $command = $what) =~ s|\bbuild/|$build/|g;
            my $printed = `{ timeout 60 $command; } 2>&1 </dev/null`;
            is(without_numbers($printed), without_numbers($block), "$document: $what prints this");
        } elsif ($kind eq 'file') {
            is($block, slurp($what), "$document: the block is $what");
        } else {
            ok(index(slurp($what) // '', $block) >= 0, "$document: the block is from $what")
                or diag($block);
        }
    }
    my $marked = () = $text =~ /^<!-- (?:file|from|output): /mg;
    my $blocks = () = $text =~ /^<!-- (?:file|from|output): .*? -->\n+```/mg;
    is($marked, $blocks, "$document: a block follows each marker");
}
done_testing();
