<?php
// SPDX-License-Identifier: MIT
namespace App\Events;

use Illuminate\Broadcasting\Channel;
use Illuminate\Contracts\Broadcasting\ShouldBroadcastNow;

/** To any number of public channels, under a name of its own. */
class Announcement implements ShouldBroadcastNow
{
    public function __construct(public string $text, private array $names = ['portal'])
    {
    }

    public function broadcastOn(): array
    {
        return array_map(fn ($name) => new Channel($name), $this->names);
    }

    public function broadcastAs(): string
    {
        return 'announcement';
    }

    public function broadcastWith(): array
    {
        return ['text' => $this->text];
    }
}
