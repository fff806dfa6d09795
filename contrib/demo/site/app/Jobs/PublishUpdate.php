<?php

// SPDX-License-Identifier: MIT

namespace App\Jobs;

use App\Models\Project;
use App\Support\Updates;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Foundation\Queue\Queueable;
use Illuminate\Support\Facades\DB;

/** Adds an update to a project, from the queue. */
class PublishUpdate implements ShouldQueue
{
    use Queueable;

    public int $tries = 3;

    public function __construct(public int $projectId, public string $title)
    {
    }

    public function handle(Updates $updates): void
    {
        DB::transaction(fn () => $updates->add(Project::query()->findOrFail($this->projectId), $this->title));
    }
}
