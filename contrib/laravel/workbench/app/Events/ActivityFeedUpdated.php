<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\PrivateChannel;

/** An activity; the daemon sends the same for those that ActivityFeedService adds. */
class ActivityFeedUpdated extends PortalEvent
{
    /** @param  array<string, mixed>  $activity */
    public function __construct(public array $activity)
    {
    }

    /** @return list<Channel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel('admin')];
    }
}
