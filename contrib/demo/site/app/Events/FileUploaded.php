<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\PrivateChannel;

/** A file was added to a project. */
class FileUploaded extends PortalEvent
{
    /** @param  array<string, mixed>  $file */
    public function __construct(public array $file, private int $projectId)
    {
    }

    /** @return list<PrivateChannel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel("project.$this->projectId")];
    }
}
