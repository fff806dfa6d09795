// SPDX-License-Identifier: MIT
// One manager, which stays while Inertia changes the page.
import Echo from 'laravel-echo';
import Pusher from 'pusher-js';
import { RealtimeManager } from 'scopewire';

const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
const host = location.hostname;
const port = Number(meta('scopewire-port'));
const user = location.search;

window.Pusher = Pusher;
export const manager = window.manager = new RealtimeManager({
	echo: new Echo({ broadcaster: 'reverb', key: meta('scopewire-key'), wsHost: host, wsPort: port,
		forceTLS: false, enabledTransports: ['ws'] }),
	token: async () => (await (await fetch(`/token${user}`)).json()).token,
	authorizer: { endpoint: `http://${host}:${port}/broadcasting/auth` },
});
