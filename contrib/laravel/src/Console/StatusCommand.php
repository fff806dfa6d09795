<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Console;

use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Console\Command;
use Scopewire\Laravel\Broadcasting\ScopewireBroadcaster;
use Scopewire\Laravel\Client;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Services\PresenceService;
use Throwable;

class StatusCommand extends Command
{
    protected $signature = 'scopewire:status {--json}';

    protected $description = 'Show connections, channels, users and the last event';

    public function handle(Client $client, PresenceService $presence, BroadcastManager $broadcasts): int
    {
        try {
            $broadcaster = $broadcasts->connection('scopewire');
            assert($broadcaster instanceof ScopewireBroadcaster);
            $pusher = $broadcaster->getPusher();
            $last = $client->throwing()->get('events', ['order' => 'newest', 'limit' => 1])['events'][0] ?? null;
            $status = [
                'daemon' => $client->settings()->origin,
                'application' => $client->settings()->appId,
                'connections' => $pusher->get('/connections', [], true)['connections'] ?? null,
                'channels' => count($pusher->get('/channels', [], true)['channels'] ?? []),
                'users_online' => $presence->throw()->countOnlineUsers(),
                'last_event' => $last === null ? null : array_intersect_key($last, array_flip(['serial', 'channel', 'event', 'created_at', 'delivered'])),
            ];
        } catch (Throwable $e) {
            $this->components->error(($e instanceof ScopewireException ? '' : 'Pusher: ').$e->getMessage());
            $this->line('  php artisan scopewire:check finds the cause.');

            return self::FAILURE;
        }
        if ($this->option('json')) {
            $this->line((string) json_encode($status, JSON_UNESCAPED_SLASHES));

            return self::SUCCESS;
        }
        foreach ($status as $name => $value) {
            $this->components->twoColumnDetail(str_replace('_', ' ', $name), is_array($value)
                ? implode(' ', array_map(fn ($v) => is_bool($v) ? ($v ? 'delivered' : 'not delivered') : $v, $value)) : (string) ($value ?? '-'));
        }

        return self::SUCCESS;
    }
}
