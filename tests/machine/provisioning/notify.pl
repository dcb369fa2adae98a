# sd_notify(3) without a module: AF_UNIX is 1, SOCK_DGRAM is 2.
socket(my $socket, 1, 2, 0) or die "socket: $!";
connect($socket, pack("Sa*", 1, $ENV{NOTIFY_SOCKET})) or die "$ENV{NOTIFY_SOCKET}: $!";
syswrite($socket, $ARGV[0]) or die "write: $!";
