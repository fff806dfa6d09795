{{-- SPDX-License-Identifier: MIT --}}
<!doctype html>
<html lang="en">
<head>
	<meta charset="utf-8">
	<title>Invoices</title>
	<meta name="scopewire-key" content="{{ config('broadcasting.connections.reverb.key') }}">
	<meta name="scopewire-port" content="{{ config('broadcasting.connections.reverb.options.port') }}">
	<link rel="stylesheet" href="/page.css">
	<script type="module" src="{{ Vite::asset('resources/js/inertia.js') }}"></script>
	@inertiaHead
</head>
<body>
	@inertia
</body>
</html>
