{{-- SPDX-License-Identifier: MIT --}}
@props(['title', 'bare' => false, 'online' => true])
@php($user = $bare ? null : auth()->user())
<!doctype html>
<html lang="en">
<head>
	<meta charset="utf-8">
	<meta name="viewport" content="width=device-width, initial-scale=1">
	<meta name="color-scheme" content="light dark">
	<title>{{ $title }} – Harbour</title>
	<link rel="icon" href="data:,">
	@if (! $bare)
		<meta name="csrf-token" content="{{ csrf_token() }}">
		<meta name="portal-key" content="{{ config('scopewire.key') }}">
		<meta name="portal-port" content="{{ config('scopewire.port') }}">
		<meta name="portal-channels" content="{{ $user->isAdmin() ? 'private-admin' : $user->clients->map(fn ($c) => "private-client.$c->id")->join(' ') }}">
		@scopewireToken
	@endif
	@vite($bare ? ['resources/css/portal.css'] : ['resources/css/portal.css', 'resources/js/portal.js'])
</head>
<body @class(['bare' => $bare])>
@if ($bare)
	{{ $slot }}
@else
	<a class="skip" href="#main">Skip to the content</a>
	<nav class="side" aria-label="Portal">
		<a class="brand" href="{{ route('overview') }}"><x-icon name="brand" />Harbour</a>
		<ul>
			<li><a href="{{ route('overview') }}" @if (request()->routeIs('overview')) aria-current="page" @endif><x-icon name="home" />Overview</a></li>
		</ul>
		<h2>Projects</h2>
		<ul>
			@foreach ($user->visible(App\Models\Project::query())->orderBy('id')->get() as $one)
				<li><a href="{{ route('project', $one) }}" @if (request()->route('project')?->is($one)) aria-current="page" @endif><x-icon name="folder" />{{ $one->name }}</a></li>
			@endforeach
		</ul>
		<div class="me">
			<div><b>{{ $user->name }}</b><span>{{ $user->title }}</span></div>
			<form method="post" action="{{ route('logout') }}">@csrf<button class="quiet" aria-label="Sign out" title="Sign out"><x-icon name="out" /></button></form>
		</div>
	</nav>
	<div class="body">
		<header class="top">
			<div class="where">{{ $head ?? '' }}</div>
			<scopewire-connection-status delay="1500" inline></scopewire-connection-status>
			@if ($online)<scopewire-presence-avatars channel="presence-online" max="4" size="30"></scopewire-presence-avatars>@endif
			<scopewire-notification-bell></scopewire-notification-bell>
		</header>
		<main id="main">{{ $slot }}</main>
	</div>
	<scopewire-notification-toasts></scopewire-notification-toasts>
@endif
</body>
</html>
