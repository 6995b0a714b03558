#!/usr/bin/perl
# SPDX-License-Identifier: MIT
# usage: tests/support/fake_qmp.pl SOCKET BEHAVIOUR
# A QMP server that serves one client and behaves badly, in one of the ways below. It ends with its client, at
# the latest after 30 s.
use strict;
use warnings;
use IO::Socket::UNIX;

my ($path, $behaviour) = @ARGV;
my $greeting = '{"QMP":{"version":{"qemu":{"micro":1,"minor":2,"major":7},"package":""},"capabilities":["oob"]}}';
my ($client, $looks) = (undef, 0);

sub say_to { print $client @_ or exit 0 }

# One device as query-memory-devices has it, with members put in place of the usual ones.
sub device {
    my %member = (
        id => '"vm0"', memdev => '"/objects/mem0"', memaddr => 4294967296, node => 0, size => 0,
        'requested-size' => 268435456, 'max-size' => 1073741824, 'block-size' => 2097152, @_,
    );
    return '{"type":"virtio-mem","data":{' . join(',', map { qq("$_":$member{$_}) } sort keys %member) . '}}';
}

sub answer { my ($id, $value) = @_; say_to qq({"return":$value,"id":$id}\r\n) }
sub devices { my $id = shift; answer $id, '[' . join(',', @_) . ']' }

# What is said in place of a greeting.
my %greetings = (
    'silent' => sub { sleep 30 },
    'garbage' => sub { say_to "SSH-2.0-OpenSSH_9.2\r\n"; sleep 30 },
    'half-greeting' => sub { say_to '{"QMP":{"version":' },
    'no-version' => sub { say_to '{"QMP":{"capabilities":[]}}'; sleep 30 },
    'answer-first' => sub { say_to '{"return":{}}'; sleep 30 },
);

# What is said to query-memory-devices, given its id.
my %answers = (
    'disconnect' => sub { exit 0 },
    'half-answer' => sub { say_to '{"return":[{"type":"virtio-mem","da'; exit 0 },
    'huge' => sub { answer $_[0], '"' . 'x' x 300_000 . '"' },
    'deep' => sub { say_to '[' x 100 },
    'not-json' => sub { say_to qq({"return":[,],"id":$_[0]}) },
    'not-utf8' => sub { say_to qq({"return":"\xc3\x28","id":$_[0]}) },
    'number' => sub { say_to "42\n" },
    'no-id' => sub { say_to '{"return":[]}' },
    'other-id' => sub { answer $_[0] + 1, '[]' },
    'twice' => sub { devices $_[0], device(); devices $_[0], device() },
    'no-reason' => sub { say_to qq({"error":"no","id":$_[0]}) },
    'neither' => sub { say_to '{"hello":"world"}' },
    'escape' => sub { say_to qq({"error":{"class":"GenericError","desc":"a\\u001b[2Jb\\u009bc\\u0007"},"id":$_[0]}) },
    'flood' => sub { say_to qq({"event":"STOP","timestamp":{"seconds":1,"microseconds":2}}\r\n) while 1 },
    'no-answer' => sub { sleep 30 },
    'no-list' => sub { answer $_[0], '{"id":"vm0"}' },
    'no-type' => sub { devices $_[0], '{"data":{}}' },
    'negative' => sub { devices $_[0], device(size => -4096) },
    'text-size' => sub { devices $_[0], device(size => '"1G"') },
    'too-large' => sub { devices $_[0], device(size => 2147483648) },
    'no-block' => sub { devices $_[0], device('block-size' => 0) },
    'too-big-integer' => sub { devices $_[0], device('memaddr' => '99999999999999999999') },
    'bad-id' => sub { devices $_[0], device(id => '"\u001b[31mvm0"') },
    'long-id' => sub { devices $_[0], device(id => '"' . 'v' x 300 . '"') },
    'many' => sub { devices $_[0], map { device(id => qq("vm$_")) } 1 .. 300 },
    'dimm' => sub { devices $_[0], '{"type":"dimm","data":{"id":"d0","size":4096}}', device() },
    'nameless' => sub { my $one = device(); $one =~ s/"id":"vm0",//; devices $_[0], $one },
    # Of a machine that is being resized.
    'stalls' => sub { devices $_[0], device(size => 134217728) },
    'creeps' => sub { devices $_[0], device(size => 2097152 * ($looks < 100 ? $looks : 100)) },
    'vast' => sub { devices $_[0], device('max-size' => 1 << 37) },
    'leaves' => sub { devices $_[0], $looks < 4 ? device() : () },
    'somebody-else' => sub { devices $_[0], device('requested-size' => $looks < 4 ? 268435456 : 2097152) },
    'quits' => sub { $looks < 4 ? devices $_[0], device() : exit 0 },
    'hmp-number' => sub { devices $_[0], device() },
    'hmp-escape' => sub { devices $_[0], device() },
);

# It has its name only when it can be connected to.
my $server = IO::Socket::UNIX->new(Local => "$path.new", Listen => 1) or die "$path: $!\n";
rename "$path.new", $path or die "$path: $!\n";
$SIG{PIPE} = sub { exit 0 };
alarm 30;
$client = $server->accept or exit 1;
$client->autoflush(1);
if ($greetings{$behaviour}) {
    $greetings{$behaviour}->();
    exit 0;
}
die "no such behaviour: $behaviour\n" unless $answers{$behaviour};
say_to "$greeting\r\n";
while (my $line = <$client>) {
    my ($command) = $line =~ /"execute":"([^"]*)"/ or die "not a command: $line";
    my ($id) = $line =~ /"id":(\d+)/ or die "no id: $line";
    if ($command eq 'query-memory-devices') {
        $looks++;
        $answers{$behaviour}->($id);
    } elsif ($command eq 'human-monitor-command' && $behaviour eq 'hmp-number') {
        answer $id, 7;
    } elsif ($command eq 'human-monitor-command') {
        answer $id, '"\u001b]0;title\u0007seen\r\n"';
    } else {
        answer $id, '{}';
    }
}
