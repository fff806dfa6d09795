<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\PrivateChannel;

/** Time was recorded. */
class TimeEntryUpdated extends PortalEvent
{
    /** @param  array<string, mixed>  $entry */
    public function __construct(public array $entry, private int $projectId)
    {
    }

    /** @return list<PrivateChannel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel("project.$this->projectId")];
    }
}
