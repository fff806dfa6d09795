// SPDX-License-Identifier: MIT
// What shows that the daemon can work with its database: something of everything it does there.
import assert from 'node:assert/strict';
import { Sync } from './sync.mjs';

/** Each call has to succeed. */
export async function useEverything(daemon) {
	const server = Sync.server(daemon), user = Sync.user(daemon, 7);
	const wire = await daemon.connect();
	await wire.subscribe('c');
	await daemon.api().trigger('c', 'Http', '{}');
	await wire.next({ event: 'Http' });
	await daemon.query(`SELECT scopewire.broadcast('c', 'Sql', '{}')`);
	await wire.next({ event: 'Sql' });
	wire.close();
	const ok = async (answer) => {
		const { status, text } = await answer;
		assert.ok(status === 200 || status === 201, text);
	};
	await ok(server.put('users/7', { name: 'Ada', roles: ['x'] }));
	await ok(user.post('heartbeat', { status: 'online' }));
	await ok(server.get('online-users'));
	await ok(server.put('users', { users: [{ id: 7, name: 'Ada', roles: ['x', 'y'] }] }));
	await ok(server.put('rules', { pattern: 'made.{id}', rule: 'role', argument: 'x' }));
	await ok(server.get('rules'));
	await ok(server.delete('users/8'));
	await ok(server.post('notifications', { to: 7, title: 'T' }));
	await ok(user.get('notifications'));
	await ok(server.get('events', { channels: 'c' }));
	await ok(server.post('changes', { client_id: 'k', mutations: [{
		mutation_id: 'm', resource_type: 'note', resource_id: '1', expected_version: null, op: 'upsert',
		data: { a: 1 } }] }));
}
