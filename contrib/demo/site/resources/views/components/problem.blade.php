{{-- SPDX-License-Identifier: MIT --}}
{{-- An error page.  It needs neither a user nor the database. --}}
@props(['status', 'title', 'text', 'href', 'link'])
<x-page :title="$title" bare>
	<main class="login">
		<div class="brand"><x-icon name="brand" />Harbour</div>
		<h1>{{ $title }}</h1>
		<p>{{ $text }}</p>
		<a class="button primary" href="{{ $href }}">{{ $link }}</a>
		<p class="code">Error {{ $status }}</p>
	</main>
</x-page>
