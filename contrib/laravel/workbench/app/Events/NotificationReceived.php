<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\PrivateChannel;

/** A user has a new message. */
class NotificationReceived extends PortalEvent
{
    public function __construct(public int $userId, public string $title, public string $message)
    {
    }

    /** @return list<Channel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel('App.Models.User.'.$this->userId), new PrivateChannel('User.'.$this->userId)];
    }
}
