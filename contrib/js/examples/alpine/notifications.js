// SPDX-License-Identifier: MIT
// Notifications as they come, with Alpine and Echo alone.
import Alpine from '@alpinejs/csp';
import Echo from 'laravel-echo';
import Pusher from 'pusher-js';
import { BatchAuthorizer, Tokens, claimsOf } from 'scopewire';

const { key, port } = await (await fetch('/config')).json();
const tokens = new Tokens(async () => (await (await fetch(`/token${location.search}`)).json()).token);
const userId = claimsOf(await tokens.get()).sub;
const { handler } = new BatchAuthorizer(
	{ endpoint: `http://${location.hostname}:${port}/broadcasting/auth` }, tokens);

window.Pusher = Pusher;
window.Echo = new Echo({ broadcaster: 'reverb', key, wsHost: location.hostname, wsPort: port, forceTLS: false,
	enabledTransports: ['ws'], channelAuthorization: { customHandler: handler } });

Alpine.data('notifications', () => ({
	items: [],
	unread: 0,
	open: false,
	init() {
		window.Echo.private(`App.Models.User.${userId}`)
			.notification((notification) => { this.items.unshift(notification); })
			.listen('NotificationsUnread', ({ unread }) => { this.unread = unread; });
	},
	toggle() {
		this.open = !this.open;
	},
}));
Alpine.start();
