<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Testing;

use Illuminate\Support\Arr;
use Scopewire\Laravel\Broadcasting\ScopewireBroadcaster;

/** Records events instead of sending them.  Authorization works as without it. */
final class FakeBroadcaster extends ScopewireBroadcaster
{
    /** @var callable(array{event: string, channels: list<string>, data: array<string, mixed>, socket: ?string}): void */
    public $record;

    public function broadcast(array $channels, $event, array $payload = []): void
    {
        $socket = Arr::pull($payload, 'socket');
        ($this->record)(['event' => $event, 'channels' => array_values(array_map(strval(...), $this->formatChannels($channels))),
            'data' => $payload, 'socket' => $socket]);
    }
}
