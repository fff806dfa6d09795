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
