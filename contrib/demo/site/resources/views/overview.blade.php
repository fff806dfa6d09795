{{-- SPDX-License-Identifier: MIT --}}
@php($user = auth()->user())
<x-page title="Overview">
	<x-slot:head><h1>Good to see you, {{ Str::before($user->name, ' ') }}</h1></x-slot:head>
	<div class="columns">
		<div class="stack">
			<section aria-labelledby="projects">
				<h2 id="projects" class="over">Projects</h2>
				<ul class="tiles">
					@forelse ($projects as $project)
						<li><a class="tile" href="{{ route('project', $project) }}">
							<span class="over">{{ $project->client->name }}</span>
							<b>{{ $project->name }}</b>
							<p>{{ $project->goal }}</p>
							<span class="figures"><span><x-icon name="chat" />{{ $project->comments_count }}<span class="hidden"> comments</span></span>
								<span><x-icon name="file" />{{ $project->files_count }}<span class="hidden"> files</span></span>
								<span><x-icon name="clock" />{{ $project->due }}</span></span>
						</a></li>
					@empty
						<li class="empty">No projects yet.</li>
					@endforelse
				</ul>
			</section>
			<x-invoices :$invoices :shows-client="$user->isAdmin()" />
		</div>
		@if ($user->isAdmin())
			<scopewire-activity-feed feed="global" types="comment_added:Comments,file_uploaded:Files,invoice_paid:Payments"></scopewire-activity-feed>
		@else
			<scopewire-activity-feed feed="client" client-id="{{ $user->clients->first()?->id }}" types="comment_added:Comments,file_uploaded:Files,invoice_paid:Payments"></scopewire-activity-feed>
		@endif
	</div>
</x-page>
