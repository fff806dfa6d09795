<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\InteractsWithSockets;
use Illuminate\Broadcasting\PrivateChannel;
use Scopewire\Laravel\Broadcasting\BroadcastsInTransaction;

/** An event of the portal: delivered if, and only if, the transaction commits in which it happened. */
abstract class PortalEvent implements BroadcastsInTransaction
{
    use InteractsWithSockets;

    /** @return list<PrivateChannel> */
    abstract public function broadcastOn(): array;
}
