<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Console;

use Illuminate\Console\Command;
use Illuminate\Support\Sleep;
use Scopewire\Laravel\Client;
use Scopewire\Laravel\Exceptions\ScopewireException;

/** Prints events from the log: the last ones, and then each new one. */
class TailCommand extends Command
{
    protected $signature = 'scopewire:tail
        {--channel=* : only these, as on the wire}
        {--prefix= : only channels whose names begin with this}
        {--event= : only this event}
        {--lines=10 : how many of the last events are printed first}
        {--once : do not wait for new ones}';

    protected $description = 'Print events as they are published';

    public function handle(Client $client): int
    {
        $client = $client->throwing();
        $filter = [
            'channels' => implode(',', (array) $this->option('channel')) ?: null,
            'channel_prefix' => $this->option('prefix'),
            'event' => $this->option('event'),
        ];
        try {
            // Before the list, so that no event is missed; those of both are printed once.
            $since = $this->option('once') ? null : $this->position($client);
            $lines = max(1, min(1000, (int) $this->option('lines')));
            $last = $client->get('events', $filter + ['order' => 'newest', 'limit' => $lines])['events'] ?? [];
            $serial = 0;
            foreach (array_reverse($last) as $event) {
                $this->print($event);
                $serial = $event['serial'];
            }
            while ($since !== null) {
                $page = $client->get('events', $filter + ['since' => $since]);
                foreach ($page['events'] as $event) {
                    if ($event['serial'] > $serial) {
                        $this->print($event);
                    }
                }
                $since = $page['position'];
                if ($page['events'] === []) {
                    Sleep::for(500)->milliseconds();
                }
            }
        } catch (ScopewireException $e) {
            $this->components->error($e->getMessage());

            return self::FAILURE;
        }

        return self::SUCCESS;
    }

    /** The position of the newest event of all channels. */
    private function position(Client $client): ?string
    {
        $serial = $client->get('events', ['order' => 'newest', 'limit' => 1])['events'][0]['serial'] ?? 0;
        $start = (string) ($client->get('events', ['limit' => 1])['position'] ?? '');

        return $start === '' ? null : strstr($start, ':', true).":$serial";
    }

    /** @param  array<string, mixed>  $event */
    private function print(array $event): void
    {
        $this->line(implode(' ', [$event['created_at'], $event['serial'], $event['channel'], $event['event'],
            mb_strimwidth((string) $event['data'], 0, 200, '…')]));
    }
}
