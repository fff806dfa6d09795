// SPDX-License-Identifier: MIT
// Temporary folders, removed when the process ends, and free ports.
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

const folders = [];
const owner = process.pid;

process.on('exit', () => {
	if (process.pid !== owner || process.env.KEEP_TEST_FOLDERS) return;
	// A process that ends may still write: its folder is tried again.
	for (const folder of folders)
		fs.rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
});

/** A new folder with a short name: unix socket paths have room for 107 bytes only. */
export function tempFolder(name = 'test') {
	const folder = fs.mkdtempSync(path.join(os.tmpdir(), `sw-${name}-`));
	fs.chmodSync(folder, 0o755);
	folders.push(folder);
	return folder;
}

/**
 * A free port, for programs that cannot take port 0 themselves.  It is below the range from which
 * the kernel takes its own choices, and a folder reserves it for this process until its end, so
 * that tests can run side by side.
 */
export async function freePort(host = '127.0.0.1') {
	for (;;) {
		const port = 20000 + Math.floor(Math.random() * 12000);
		const reservation = path.join(os.tmpdir(), `sw-port-${port}`);
		try {
			fs.mkdirSync(reservation);
		} catch {
			continue;     // another test has it
		}
		folders.push(reservation);
		const server = net.createServer().listen(port, host);
		const isFree = await new Promise((resolve) => server.once('listening', () => resolve(true))
			.once('error', () => resolve(false)));
		if (!isFree) continue;
		await new Promise((resolve) => server.close(resolve));
		return port;
	}
}

/** A port that is free as the n after it are, for programs that take all of them. */
export async function freePorts(n) {
	const isUsed = (port) => new Promise((resolve) => {
		const socket = net.connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
		socket.on('close', () => resolve(false)).end();
	});
	for (;;) {
		const port = await freePort();
		const used = await Promise.all(Array.from({ length: n + 1 }, (_, i) => isUsed(port + i)));
		if (!used.includes(true)) return port;
	}
}
