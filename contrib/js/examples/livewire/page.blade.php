{{-- SPDX-License-Identifier: MIT --}}
<!doctype html>
<html lang="en">
<head>
	<meta charset="utf-8">
	<title>Invoices</title>
	<meta name="scopewire-key" content="{{ config('broadcasting.connections.reverb.key') }}">
	<meta name="scopewire-port" content="{{ config('broadcasting.connections.reverb.options.port') }}">
	<link rel="stylesheet" href="/page.css">
	<script type="module" src="{{ Vite::asset('resources/js/livewire.js') }}"></script>
</head>
<body>
	<main>
		<livewire:invoices />
		{{-- Livewire leaves what an element has made of itself as it is. --}}
		<div wire:ignore>
			<scopewire-presence-avatars channel="presence-client.42"></scopewire-presence-avatars>
		</div>
	</main>
	<scopewire-connection-status delay="300"></scopewire-connection-status>
</body>
</html>
