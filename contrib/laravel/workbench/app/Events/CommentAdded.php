<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\PrivateChannel;

/** A comment was written, on a project, an invoice or a workflow. */
class CommentAdded extends PortalEvent
{
    public function __construct(public string $on, public int $id, public string $text, public int $userId)
    {
    }

    /** @return list<Channel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel($this->on.'.'.$this->id)];
    }
}
