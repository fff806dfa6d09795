// SPDX-License-Identifier: MIT
// Child processes that are always ended, by their id, whatever becomes of the test.
import { spawn, execFileSync } from 'node:child_process';
import { DEADLINE_MS, within } from './wait.mjs';

const running = new Set();

process.on('exit', () => {
	for (const child of running) send(child, 'SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM'])
	process.once(signal, () => process.exit(1));

/** To the child, or with options.detached to its whole process group. */
function send(child, signal) {
	try {
		process.kill(child.grouped ? -child.pid : child.pid, signal);
	} catch { /* it has just ended */ }
}

/** Starts a program; its output gathers in child.log, child.ended resolves to {code, signal}. */
export function start(command, args, options = {}) {
	const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
	child.log = '';
	child.grouped = options.detached === true;
	const gather = (chunk) => {
		child.log += chunk;
		child.emit('log');
	};
	child.stdout?.setEncoding('utf8').on('data', gather);
	child.stderr?.setEncoding('utf8').on('data', gather);
	running.add(child);
	child.ended = new Promise((resolve) => {
		child.once('error', (error) => {
			child.log += `${error}\n`;
			running.delete(child);
			resolve({ code: null, signal: null, error });
		});
		child.once('close', (code, signal) => {
			running.delete(child);
			resolve({ code, signal });
		});
	});
	return child;
}

/** Resolves to the match once child.log holds pattern; rejects when the child ends first. */
export function logged(child, pattern, deadlineMs) {
	const found = new Promise((resolve, reject) => {
		const look = () => {
			const match = child.log.match(pattern);
			if (!match) return;
			child.off('log', look);
			resolve(match);
		};
		child.on('log', look);
		look();
		child.ended.then(({ code, signal }) =>
			reject(new Error(`${child.spawnfile} ended (${code ?? signal}) before ` +
				`${pattern}:\n${child.log}`)));
	});
	return within(found, `${child.spawnfile} logs ${pattern}; it said:\n${child.log}`, deadlineMs);
}

/** Sends the signal and waits for the end; SIGKILL after the deadline, which is an error. */
export async function end(child, signal = 'SIGTERM', deadlineMs = DEADLINE_MS) {
	if (child.exitCode === null && child.signalCode === null) send(child, signal);
	try {
		return await within(child.ended, `${child.spawnfile} ends on ${signal}`, deadlineMs);
	} catch (error) {
		send(child, 'SIGKILL');
		await child.ended;
		throw new Error(`${error.message}; it said:\n${child.log.slice(-4000)}`);
	}
}

/** {uid, gid} of an account to run what refuses to run as root, or {} when we are not root. */
export function unprivileged() {
	if (process.getuid() !== 0) return {};
	for (const name of ['postgres', 'nobody']) {
		try {
			const ask = (flag) => Number(execFileSync('id', [flag, name], { stdio: 'pipe' }));
			return { uid: ask('-u'), gid: ask('-g') };
		} catch { /* no such account: the next one */ }
	}
	throw new Error('this test needs an unprivileged account');
}
