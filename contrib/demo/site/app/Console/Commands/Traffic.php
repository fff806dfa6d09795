<?php

// SPDX-License-Identifier: MIT

namespace App\Console\Commands;

use App\Jobs\PublishUpdate;
use App\Models\Project;
use App\Support\Journal;
use App\Support\Updates;
use Illuminate\Console\Command;
use Scopewire\Laravel\Services\RealtimeNotificationService;

/** Publishes updates of a project over HTTP, in SQL and from jobs, in turn; each tenth is notified too. */
class Traffic extends Command
{
    protected $signature = 'portal:traffic {project=1} {count=10}';

    protected $description = 'Publish updates of a project over HTTP, in SQL and from jobs';

    public function handle(Updates $updates, RealtimeNotificationService $notifications): int
    {
        $project = Project::query()->findOrFail($this->argument('project'));
        for ($n = 1; $n <= (int) $this->argument('count'); $n++) {
            match ($n % 3) {
                0 => PublishUpdate::dispatch($project->id, "Update $n, from a job"),
                1 => $updates->add($project, "Update $n, over HTTP"),
                2 => $updates->addBySql($project, "Update $n, in SQL"),
            };
            if ($n % 10 === 0) {
                $notifications->notifyMany(Journal::members($project), ['title' => "$n updates of $project->name",
                    'data' => ['url' => "/projects/$project->id"]]);
            }
        }

        return self::SUCCESS;
    }
}
