<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\InteractsWithSockets;
use Illuminate\Broadcasting\PrivateChannel;
use Illuminate\Contracts\Broadcasting\ShouldBroadcastNow;

class InvoiceCreated implements ShouldBroadcastNow
{
    use InteractsWithSockets;

    public function __construct(public string $number)
    {
    }

    public function broadcastOn(): PrivateChannel
    {
        return new PrivateChannel('client.42');
    }
}
