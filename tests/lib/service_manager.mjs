// SPDX-License-Identifier: MIT
// A service manager as the daemon sees it: a datagram socket whose path is in NOTIFY_SOCKET.
import path from 'node:path';
import { logged, start } from './process.mjs';
import { tempFolder } from './temp.mjs';

// Node.js has no datagram sockets of the Unix family; Perl is on every Debian system.
const LISTEN = `use Socket; $| = 1;
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; bind($s, sockaddr_un($ARGV[0])) or die "$!"; print "listening\\n";
while (defined recv($s, my $m, 4096, 0)) { $m =~ s/\\n/ /g; print "$m\\n"; }`;

/** Listens; .env is for the daemon, .heard() the messages so far, one a line. */
export async function startServiceManager({ watchdog_us } = {}) {
	const socket = path.join(tempFolder('sm'), 'notify');
	const child = start('perl', ['-e', LISTEN, socket]);
	await logged(child, /listening\n/);
	return {
		child,
		env: { NOTIFY_SOCKET: socket, ...(watchdog_us && { WATCHDOG_USEC: String(watchdog_us) }) },
		heard: () => child.log.split('\n').slice(1, -1),
	};
}
