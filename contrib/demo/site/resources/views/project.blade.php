{{-- SPDX-License-Identifier: MIT --}}
{{-- Its card shows who is on this page. --}}
<x-page :title="$project->name" :online="false">
	<x-slot:head><span class="over">{{ $project->client->name }}</span><h1>{{ $project->name }}</h1></x-slot:head>
	<scopewire-live-cursors channel="presence-project.{{ $project->id }}">
	<div class="columns">
		<div class="stack">
			<scopewire-project-updates project-id="{{ $project->id }}" heading="What is new" tab="comments"
				src="{{ route('project.live', $project, false) }}" comments-src="{{ route('project.comments', $project, false) }}"></scopewire-project-updates>
			<section class="card adding" aria-label="Add to the project">
				<form data-post="{{ route('project.files', $project) }}" data-reload enctype="multipart/form-data">
					<label class="small"><x-icon name="plus" /><span>Add a file</span><input class="hidden" type="file" name="file" data-submits data-most="{{ App\Models\File::MOST_KB * 1024 }}" aria-describedby="most"></label>
					<small id="most">up to {{ App\Models\File::MOST_KB / 1024 }} MB</small>
				</form>
				<form class="time" data-post="{{ route('project.time', $project) }}" data-reload data-clears>
					<input name="task" aria-label="Task" placeholder="What did you work on?" required maxlength="120">
					<input name="hours" aria-label="Hours" placeholder="1.5" inputmode="decimal" required size="4">
					<button class="small">Record time</button>
				</form>
				<p class="problem" role="alert"></p>
			</section>
			<section class="card brief" aria-labelledby="brief">
				<header><h2 id="brief">Brief</h2><p>Shared with everyone in the project. Works offline too.</p></header>
				<scopewire-shared-form resource-type="project" resource-id="{{ $project->id }}">
					<scopewire-field-lock wait="15"><label>Goal <input name="goal" maxlength="200"></label></scopewire-field-lock>
					<scopewire-field-lock wait="15"><label>Scope <textarea name="scope" rows="3"></textarea></label></scopewire-field-lock>
					<scopewire-field-lock wait="15"><label>Due <input name="due" maxlength="40"></label></scopewire-field-lock>
				</scopewire-shared-form>
			</section>
		</div>
		<div class="stack">
			<x-invoices :invoices="$project->invoices" />
			{{-- Rows of a project arrive on the channel of its client. --}}
			<scopewire-activity-feed feed="project" project-id="{{ $project->id }}" channel="private-client.{{ $project->client_id }}"></scopewire-activity-feed>
		</div>
	</div>
	</scopewire-live-cursors>
</x-page>
