// SPDX-License-Identifier: MIT
// Starts the kit in a test's page as an application does; options are in the page's query.
import Echo from '/echo.js';
import * as kit from '/scopewire.js';

export { kit };
const query = new URLSearchParams(location.search);
export const user = query.get('user');

export async function boot(more = {}) {
	const { key, port } = await (await fetch('/config')).json();
	const options = { cluster: '', wsHost: '127.0.0.1', wsPort: port, forceTLS: false,
		enabledTransports: ['ws'], disableStats: true };
	const pusher = new window.Pusher(key, options);
	const echo = query.has('pusher') ? undefined
		: new Echo({ broadcaster: 'reverb', key, client: pusher });
	window.echo = echo;
	window.tokens = 0;
	window.statuses = [];
	window.recoveries = [];
	const manager = new kit.RealtimeManager({
		...(echo ? { echo } : { pusher }),
		token: async () => {
			window.tokens++;
			const response = await fetch(`/token?user=${user}`);
			if (!response.ok) throw Object.assign(new Error('no token'), { status: response.status });
			return (await response.json()).token;
		},
		authorizer: { endpoint: `http://127.0.0.1:${port}/broadcasting/auth` },
		leader: query.has('leader'), loginUrl: '/login', ...more,
	});
	manager.on('status', (status) => window.statuses.push(status));
	manager.on('recovered', (recovered) => window.recoveries.push(recovered));
	window.manager = manager;
	window.kit = kit;
	return manager;
}

if (!query.has('manual')) await boot();
