<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\InteractsWithSockets;
use Illuminate\Foundation\Events\Dispatchable;
use Illuminate\Queue\SerializesModels;
use Scopewire\Laravel\Broadcasting\BroadcastsInTransaction;

/** An event of the portal: delivered if, and only if, the transaction commits in which it happened. */
abstract class PortalEvent implements BroadcastsInTransaction
{
    use Dispatchable, InteractsWithSockets, SerializesModels;

    /** @return list<Channel> */
    abstract public function broadcastOn(): array;
}
