<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Console;

use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Console\Command;
use Scopewire\Laravel\Scopewire;

class SendCommand extends Command
{
    protected $signature = 'scopewire:send
        {channel : as on the wire, such as private-client.7}
        {event : such as App\\\\Events\\\\InvoiceCreated}
        {data? : a JSON object}';

    protected $description = 'Broadcast one event';

    public function handle(Scopewire $scopewire): int
    {
        $data = json_decode($this->argument('data') ?? '{}', true);
        if (! is_array($data)) {
            $this->components->error('The data is not a JSON object: '.json_last_error_msg());

            return self::INVALID;
        }
        try {
            $scopewire->publish($this->argument('channel'), $this->argument('event'), $data);
        } catch (BroadcastException $e) {
            $this->components->error($e->getMessage());

            return self::FAILURE;
        }
        $this->components->info("Sent {$this->argument('event')} to {$this->argument('channel')}.");

        return self::SUCCESS;
    }
}
