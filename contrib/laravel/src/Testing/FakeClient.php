<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Testing;

use Scopewire\Laravel\Client;

/** Records calls, and answers as a daemon without data does. */
final class FakeClient extends Client
{
    /** @var list<array{method: string, path: string, query: array<string, mixed>, body: array<string, mixed>}> */
    public array $calls = [];

    private ?self $recorder = null;

    public function throwing(bool $throw = true): static
    {
        return $this->recording(parent::throwing($throw));
    }

    public function within(float $seconds): static
    {
        return $this->recording(parent::within($seconds));
    }

    /** Calls of the copy are recorded by the first client. */
    private function recording(self $copy): static
    {
        $copy->recorder = $this->recorder ?? $this;

        return $copy;
    }

    public function call(string $method, string $path, array $query = [], ?array $body = null): array
    {
        $body ??= [];
        $recorder = $this->recorder ?? $this;
        $recorder->calls[] = compact('method', 'path', 'query', 'body');

        return match ($method.' '.$path) {
            'POST notifications' => ['recipients' => count((array) ($body['to'] ?? $body['recipient_id'] ?? 1)), 'notifications' => []],
            'POST heartbeat' => ['user_id' => $body['user_id'] ?? null, 'status' => $body['status'] ?? 'online', 'ttl' => 90, 'unread_count' => 0],
            'POST activities' => ['activity' => ['id' => count($recorder->calls)] + $body],
            'POST changes' => ['results' => array_map(fn ($m) => ['status' => 200, 'version' => 1] + (array) $m, $body['mutations'] ?? [])],
            default => [],
        };
    }
}
