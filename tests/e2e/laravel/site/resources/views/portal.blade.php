<!DOCTYPE html>
<!-- SPDX-License-Identifier: MIT -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="csrf-token" content="{{ csrf_token() }}">
<title>Portal of {{ auth()->user()->name }}</title>
<link rel="icon" href="data:,">
<script src="/js/pusher.js"></script>
<script src="/js/echo.js"></script>
<script>
	window.seen = [];       // what the tests read: [kind, value]
	window.note = (kind) => (value) => seen.push([kind, value ?? null]);
	window.echo = new Echo.default({
		broadcaster: 'reverb',
		key: @json(env('VITE_REVERB_APP_KEY')),
		wsHost: @json(env('VITE_REVERB_HOST')),
		wsPort: {{ env('VITE_REVERB_PORT') }},
		wssPort: {{ env('VITE_REVERB_PORT') }},
		forceTLS: @json(env('VITE_REVERB_SCHEME') === 'https'),
		enabledTransports: ['ws', 'wss'],
	});
	const connection = echo.connector.pusher.connection;
	connection.bind('state_change', (change) => seen.push(['state', change.current]));
	window.send = async (path, body = {}, more = {}) => {
		const response = await fetch(path, { method: 'POST', body: JSON.stringify(body), headers: {
			'Content-Type': 'application/json', Accept: 'application/json',
			'X-Socket-ID': echo.socketId(),
			'X-CSRF-TOKEN': document.querySelector('meta[name=csrf-token]').content, ...more } });
		return { status: response.status, body: await response.json() };
	};

	echo.channel('portal').listen('.announcement', note('announcement')).listen('ReportQueued', note('report'));
	echo.private('client.42').subscribed(note('client.42')).error(note('client.42 error')).listen('InvoiceCreated', note('invoice'))
		.listenForWhisper('typing', note('typing'));
	echo.private('client.7').error(note('refused'));
	echo.private('App.Models.User.{{ auth()->id() }}').subscribed(note('own'))
		.notification(note('notification'));
	echo.encryptedPrivate('vault.1').subscribed(note('vault')).listen('SecretShared', note('secret'));
	echo.join('project.1').here(note('here')).joining(note('joining')).leaving(note('leaving'))
		.listen('CommentAdded', note('comment')).listenForWhisper('cursor', note('cursor'));
</script>
</head>
<body><h1>Portal of {{ auth()->user()->name }}</h1></body>
</html>
