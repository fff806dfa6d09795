// SPDX-License-Identifier: MIT
// Temporary folders that are gone when the process ends, and free ports.
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

const folders = [];
const owner = process.pid;

process.on('exit', () => {
	if (process.pid !== owner || process.env.KEEP_TEST_FOLDERS) return;
	for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true });
});

/** A new folder with a short name: unix socket paths have room for 107 bytes only. */
export function tempFolder(name = 'test') {
	const folder = fs.mkdtempSync(path.join(os.tmpdir(), `sw-${name}-`));
	fs.chmodSync(folder, 0o755);
	folders.push(folder);
	return folder;
}

/** A port that was free a moment ago, for programs that cannot take port 0 themselves. */
export async function freePort(host = '127.0.0.1') {
	const server = net.createServer().listen(0, host);
	await new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject));
	const { port } = server.address();
	await new Promise((resolve) => server.close(resolve));
	return port;
}
