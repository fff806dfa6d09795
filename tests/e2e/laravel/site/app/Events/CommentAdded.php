<?php
// SPDX-License-Identifier: MIT
namespace App\Events;

use Illuminate\Broadcasting\InteractsWithSockets;
use Illuminate\Broadcasting\PresenceChannel;
use Illuminate\Contracts\Broadcasting\ShouldBroadcastNow;
use Illuminate\Foundation\Events\Dispatchable;

class CommentAdded implements ShouldBroadcastNow
{
    use Dispatchable, InteractsWithSockets;

    public function __construct(public int $projectId, public string $text)
    {
    }

    public function broadcastOn(): PresenceChannel
    {
        return new PresenceChannel('project.'.$this->projectId);
    }
}
