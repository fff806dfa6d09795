<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\PrivateChannel;

/** A comment was written. */
class CommentAdded extends PortalEvent
{
    /** @param  array<string, mixed>  $comment */
    public function __construct(public array $comment, private int $projectId)
    {
    }

    /** @return list<PrivateChannel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel("project.$this->projectId")];
    }
}
