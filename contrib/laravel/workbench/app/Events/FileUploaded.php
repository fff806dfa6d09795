<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\PrivateChannel;

/** A file was added to a project. */
class FileUploaded extends PortalEvent
{
    public function __construct(public int $projectId, public int $fileId, public string $name, public int $userId)
    {
    }

    /** @return list<Channel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel('project.'.$this->projectId)];
    }
}
