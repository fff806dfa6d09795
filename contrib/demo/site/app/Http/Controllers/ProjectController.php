<?php

// SPDX-License-Identifier: MIT

namespace App\Http\Controllers;

use App\Events\CommentAdded;
use App\Events\FileDeleted;
use App\Events\FileUploaded;
use App\Events\TimeEntryUpdated;
use App\Models\File;
use App\Models\Invoice;
use App\Models\Project;
use App\Support\Journal;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\DB;
use Illuminate\View\View;

/**
 * Pages of projects, and what is added to them.  Each change, its event, its row in the feed and its
 * notifications are one transaction.
 */
class ProjectController
{
    public function __construct(private readonly Journal $journal)
    {
    }

    public function index(Request $request): View
    {
        $user = $request->user();

        return view('overview', [
            'projects' => $user->visible(Project::query())->with('client')->withCount(['comments', 'files'])->orderBy('id')->get(),
            'invoices' => $user->visible(Invoice::query())->with('client')->orderBy('id')->get(),
        ]);
    }

    public function show(Project $project): View
    {
        return view('project', ['project' => $project->load(['client.users', 'invoices' => fn ($q) => $q->orderBy('id')])]);
    }

    /** What the page's lists show. */
    public function live(Project $project): JsonResponse
    {
        $newest = fn (string $relation) => $project->$relation()->with('user')->latest('id')->limit(200)->get()->map->toPage();

        return new JsonResponse(['updates' => $newest('updates'), 'files' => $newest('files'), 'time_entries' => $newest('timeEntries')]);
    }

    public function comments(Request $request, Project $project): JsonResponse
    {
        $page = $project->comments()->with('user')->latest('id')->cursorPaginate(30, cursor: $request->query('cursor'));

        return new JsonResponse(['comments' => collect($page->items())->map->toPage(), 'next_cursor' => $page->nextCursor()?->encode()]);
    }

    public function comment(Request $request, Project $project): JsonResponse
    {
        $fields = $request->validate(['body' => 'required|string|max:4000', 'client_ref' => 'required|uuid']);
        $user = $request->user();
        $comment = DB::transaction(function () use ($project, $fields, $user): array {
            // A browser that did not receive the answer sends it again.
            $comment = $project->comments()->firstOrCreate(
                ['user_id' => $user->id, 'client_ref' => $fields['client_ref']], ['body' => $fields['body']]);
            $page = $comment->setRelation('user', $user)->toPage();
            if ($comment->wasRecentlyCreated) {
                broadcast(new CommentAdded($page, $project->id))->toOthers();
                $this->journal->record($user, $project, 'comment_added', "commented on $project->name", 'New comment');
            }

            return $page;
        });

        return new JsonResponse(['comment' => $comment], 201);
    }

    public function upload(Request $request, Project $project): JsonResponse
    {
        $most = File::MOST_KB;
        $upload = $request->validate(['file' => "required|file|max:$most"],
            array_fill_keys(['file.max', 'file.uploaded'], 'Choose a file of at most '.($most / 1024).' MB.'))['file'];
        $user = $request->user();
        $file = DB::transaction(function () use ($project, $upload, $user): array {
            $file = $project->files()->create(['user_id' => $user->id, 'bytes' => $upload->getSize(),
                'name' => mb_strcut(basename($upload->getClientOriginalName()), 0, 200)]);
            $page = $file->setRelation('user', $user)->toPage();
            broadcast(new FileUploaded($page, $project->id))->toOthers();
            $this->journal->record($user, $project, 'file_uploaded', "added $file->name");
            $upload->storeAs("projects/$project->id", (string) $file->id);

            return $page;
        });

        return new JsonResponse(['file' => $file], 201);
    }

    public function removeFile(Request $request, Project $project, File $file): JsonResponse
    {
        DB::transaction(function () use ($request, $project, $file): void {
            $file->delete();
            broadcast(new FileDeleted(['id' => $file->id], $project->id))->toOthers();
            $this->journal->record($request->user(), $project, 'file_deleted', "removed $file->name");
        });

        return new JsonResponse(status: 204);
    }

    public function recordTime(Request $request, Project $project): JsonResponse
    {
        $fields = $request->validate(['task' => 'required|string|max:120', 'hours' => 'required|numeric|min:0.25|max:24']);
        $user = $request->user();
        $entry = DB::transaction(function () use ($project, $fields, $user): array {
            $entry = $project->timeEntries()->create(['user_id' => $user->id, 'task' => $fields['task'],
                'minutes' => (int) round($fields['hours'] * 60)]);
            $page = $entry->setRelation('user', $user)->toPage();
            broadcast(new TimeEntryUpdated($page, $project->id))->toOthers();
            $this->journal->record($user, $project, 'time_recorded', "worked on $entry->task");

            return $page;
        });

        return new JsonResponse(['entry' => $entry], 201);
    }
}
