<?php

// SPDX-License-Identifier: MIT

namespace App\Support;

use App\Events\ProjectUpdated;
use App\Models\Project;
use Illuminate\Support\Facades\DB;

/** Updates of a project, published in each of the ways that there are. */
class Updates
{
    /** In a transaction through it, otherwise over HTTP. */
    public function add(Project $project, string $title): void
    {
        broadcast(new ProjectUpdated($this->row($project, $title), $project->id));
    }

    /** By the daemon's function in SQL, as a trigger or another program would. */
    public function addBySql(Project $project, string $title): void
    {
        DB::select('SELECT scopewire.broadcast(?, ?, ?::json)', ["private-project.$project->id", 'App\\Events\\ProjectUpdated',
            json_encode(['update' => $this->row($project, $title)], JSON_THROW_ON_ERROR)]);
    }

    /** @return array<string, mixed> */
    private function row(Project $project, string $title): array
    {
        return $project->updates()->create(['title' => $title])->setRelation('user', null)->toPage();
    }
}
