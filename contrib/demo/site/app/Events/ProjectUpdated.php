<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\PrivateChannel;

/** Something happened in a project. */
class ProjectUpdated extends PortalEvent
{
    /** @param  array<string, mixed>  $update */
    public function __construct(public array $update, private int $projectId)
    {
    }

    /** @return list<PrivateChannel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel("project.$this->projectId")];
    }
}
