<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\PresenceChannel;

/** A user is online, away or offline; the daemon sends the same for heartbeats. */
class UserPresenceChanged extends PortalEvent
{
    public function __construct(public int $userId, public string $status, public ?int $clientId = null)
    {
    }

    /** @return list<Channel> */
    public function broadcastOn(): array
    {
        return [new PresenceChannel('presence.online'), ...$this->clientId === null ? [] : [new PresenceChannel('presence.client.'.$this->clientId)]];
    }
}
