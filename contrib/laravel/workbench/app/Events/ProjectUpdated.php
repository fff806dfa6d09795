<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\PresenceChannel;
use Illuminate\Broadcasting\PrivateChannel;

/** A project was changed. */
class ProjectUpdated extends PortalEvent
{
    /** @param  array<string, mixed>  $changes */
    public function __construct(public int $projectId, public int $clientId, public array $changes)
    {
    }

    /** @return list<Channel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel('project.'.$this->projectId), new PresenceChannel('project.'.$this->projectId), new PrivateChannel('client.'.$this->clientId)];
    }
}
