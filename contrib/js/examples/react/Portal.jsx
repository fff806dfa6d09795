// SPDX-License-Identifier: MIT
import { useEcho, usePresenceChannel } from '@laravel/echo-react';
import { useEffect, useState } from 'react';

/** Who is online, by a hook of Echo; the elements need no hooks. */
function PresenceList({ channel }) {
	const [users, setUsers] = useState([]);
	const { channel: presence } = usePresenceChannel(channel);
	useEffect(() => {
		presence().here(setUsers)
			.joining((user) => setUsers((all) => [...all, user]))
			.leaving((user) => setUsers((all) => all.filter((u) => u.id !== user.id)));
	}, [channel]);
	return (
		<section aria-live="polite">
			<h2>Online ({users.length})</h2>
			<ul>{users.map((user) => <li key={user.id}>{user.name}</li>)}</ul>
		</section>
	);
}

export function Portal() {
	const [invoices, setInvoices] = useState([]);
	useEcho('client.42', 'InvoiceCreated', ({ number }) => setInvoices((all) => [number, ...all]));
	return (
		<main>
			<PresenceList channel="online" />
			<h2>Invoices</h2>
			<ul id="invoices">{invoices.map((number) => <li key={number}>{number}</li>)}</ul>
			<scopewire-comment-thread channel="private-project.7" src="/comments" />
			<scopewire-connection-status delay="300" />
		</main>
	);
}
