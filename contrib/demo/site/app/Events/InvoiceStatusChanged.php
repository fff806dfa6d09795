<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\PrivateChannel;

/** An invoice was sent or paid. */
class InvoiceStatusChanged extends PortalEvent
{
    /** @param  array<string, mixed>  $invoice */
    public function __construct(public array $invoice, private int $clientId)
    {
    }

    /** @return list<PrivateChannel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel("client.$this->clientId"), new PrivateChannel('admin')];
    }
}
