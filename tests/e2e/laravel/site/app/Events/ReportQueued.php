<?php
// SPDX-License-Identifier: MIT
namespace App\Events;

use Illuminate\Broadcasting\Channel;
use Illuminate\Contracts\Broadcasting\ShouldBroadcast;

/** Goes by way of the queue, where a refusal makes the job fail. */
class ReportQueued implements ShouldBroadcast
{
    public int $tries = 1;

    public function __construct(public string $text)
    {
    }

    public function broadcastOn(): Channel
    {
        return new Channel('portal');
    }
}
