{{-- SPDX-License-Identifier: MIT --}}
<x-page title="Sign in" bare>
	<main class="login">
		<div class="brand"><x-icon name="brand" />Harbour</div>
		<h1>Who are you today?</h1>
		<p>This portal is a demonstration. Choose a user here, another one in a private window, and put the windows side by side.</p>
		<ul class="people">
			@foreach ($users as $user)
				<li><form method="post" action="{{ route('login.as', $user) }}">@csrf
					<button class="person" data-hue="{{ $user->id % 6 }}">
						<span class="face" aria-hidden="true">{{ Str::of($user->name)->explode(' ')->map(fn ($w) => $w[0])->join('') }}</span>
						<span><b>{{ $user->name }}</b><span>{{ $user->title }}, {{ $user->isAdmin() ? 'sees everything' : $user->clients->pluck('name')->join(', ') }}</span></span>
						<x-icon name="arrow" />
					</button>
				</form></li>
			@endforeach
		</ul>
	</main>
</x-page>
