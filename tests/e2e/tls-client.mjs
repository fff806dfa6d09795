// SPDX-License-Identifier: MIT
// usage: NODE_EXTRA_CA_CERTS=FILE node tls-client.mjs HOST PORT [CHANNEL]
// pusher-js with TLS subscribes, the SDK publishes over https; prints what arrived.  A process
// of its own, because Node reads the certificates it trusts at start only.
import Pusher from 'pusher';
import PusherJs from 'pusher-js';
import { APP, within } from '../lib/harness.mjs';

const [, , host, port] = process.argv;
const sdk = new Pusher({ appId: APP.id, key: APP.key, secret: APP.secret, host, port, useTLS: true });
const pusher = new PusherJs(APP.key, { cluster: '', wsHost: host, wssPort: Number(port),
	forceTLS: true, enabledTransports: ['ws', 'wss'] });
const channel = pusher.subscribe('over-tls');
const arrived = new Promise((resolve) => channel.bind('made', resolve));
await within(new Promise((resolve) => channel.bind('pusher:subscription_succeeded', resolve)),
	'the subscription over TLS');
const answer = await sdk.trigger('over-tls', 'made', { big: 'x'.repeat(9000) });
const data = await within(arrived, 'the event over TLS');
console.log(JSON.stringify({ status: answer.status, bytes: data.big.length }));
pusher.disconnect();
process.exit(0);
