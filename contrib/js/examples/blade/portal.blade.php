{{-- SPDX-License-Identifier: MIT --}}
<!doctype html>
<html lang="en">
<head>
	<meta charset="utf-8">
	<title>Project</title>
	<meta name="csrf-token" content="{{ csrf_token() }}">
	<meta name="scopewire-key" content="{{ config('broadcasting.connections.reverb.key') }}">
	<meta name="scopewire-port" content="{{ config('broadcasting.connections.reverb.options.port') }}">
	<link rel="stylesheet" href="/page.css">
	<script type="module" src="{{ Vite::asset('resources/js/portal.js') }}"></script>
</head>
<body>
	<header>
		<scopewire-presence-avatars channel="presence-project.{{ $project->id }}"></scopewire-presence-avatars>
		<scopewire-notification-bell></scopewire-notification-bell>
	</header>
	<main>
		<scopewire-project-updates project-id="{{ $project->id }}" heading="{{ $project->name }}"
			comments-src="/comments"></scopewire-project-updates>
	</main>
	<scopewire-notification-toasts></scopewire-notification-toasts>
	<scopewire-connection-status></scopewire-connection-status>
</body>
</html>
