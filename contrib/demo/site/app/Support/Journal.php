<?php

// SPDX-License-Identifier: MIT

namespace App\Support;

use App\Models\Project;
use App\Models\User;
use Scopewire\Laravel\Services\ActivityFeedService;
use Scopewire\Laravel\Services\RealtimeNotificationService;

/** What happened in a project: a row of the feed, and a notification for the others who belong to it. */
class Journal
{
    public function __construct(
        private readonly ActivityFeedService $feed,
        private readonly RealtimeNotificationService $notifications,
    ) {
    }

    /** In a transaction both are written through it, and exist only if it commits. */
    public function record(User $by, Project $project, string $type, string $text, ?string $title = null): void
    {
        $this->feed->addActivity(type: $type, description: $text, user: $by, subjectType: $project,
            metadata: ['client_id' => $project->client_id, 'project_id' => $project->id]);
        if ($title !== null) {
            $others = self::members($project)->reject(fn (User $user) => $user->is($by));
            $this->notifications->notifyMany($others, ['title' => $title, 'message' => "$by->name $text",
                'type' => $type, 'data' => ['url' => "/projects/$project->id"]]);
        }
    }

    /** @return \Illuminate\Support\Collection<int, User> */
    public static function members(Project $project): \Illuminate\Support\Collection
    {
        return $project->client->users->concat(User::query()->whereJsonContains('roles', 'admin')->get());
    }
}
