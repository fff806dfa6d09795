// SPDX-License-Identifier: MIT
// The calls that provoke what docs/openapi.yaml says of each endpoint.  A scenario gets run(call),
// which checks status and schema and gives the answer's body, and what prepare() made.

import { Sync } from '../lib/harness.mjs';

/** Before the examples run: what they presume. */
export async function prepare(daemon) {
	await Sync.server(daemon).put('users/7', { name: 'Ada' });
	return {};
}

const ada = { id: 7, name: 'Ada', roles: [] };

export const calls = {
	async history(run, context, daemon) {
		await daemon.api().trigger('news', 'Told', { n: 1 });
		const { events, position } = await run({ operation: 'listEvents', query: { channels: 'news' } });
		if (events.length !== 1 || !position) throw new Error('the event is not in the log');
		await run({ operation: 'listEvents', as: ada, query: { channels: 'news', since: position } });
		await run({ operation: 'listEvents', as: ada, status: 400, code: 'missing_field' });
		await run({ operation: 'listEvents', as: ada, query: { channels: 'private-x.1' },
			status: 403, code: 'channel_forbidden' });
		await run({ operation: 'listEvents', as: ada, query: { channels: 'news', text: 'x' },
			status: 403, code: 'forbidden' });
		await run({ operation: 'listEvents', query: { cursor: 'x' }, status: 400,
			code: 'invalid_cursor' });
		await run({ operation: 'listEvents', query: { since: 'other:1' }, status: 409,
			code: 'other_epoch' });
		await daemon.query('UPDATE log_meta SET horizon = 1');
		await run({ operation: 'listEvents', query: { since: `${position.split(':')[0]}:0` },
			status: 410, code: 'expired' });
		await daemon.query('UPDATE log_meta SET horizon = 0');
	},
	async users(run) {
		await run({ operation: 'putUser', body: { name: 'Ada' } });
		await run({ operation: 'getUser', as: ada });
		await run({ operation: 'getUser', path: { id: 8 }, as: ada, status: 403, code: 'forbidden' });
		await run({ operation: 'getUser', path: { id: 99 }, status: 404, code: 'unknown_user' });
		await run({ operation: 'getUser', path: { id: 0 }, status: 400, code: 'invalid_value' });
		await run({ operation: 'putUser', body: { nam: '' }, status: 400, code: 'unknown_field' });
		await run({ operation: 'putUser', body: '{', status: 400, code: 'invalid_json' });
		await run({ operation: 'putUser', as: ada, body: {}, status: 403, code: 'forbidden' });
	},
};
