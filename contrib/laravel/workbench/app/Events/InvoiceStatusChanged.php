<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use App\Models\Invoice;
use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\PrivateChannel;

/** An invoice has another status. */
class InvoiceStatusChanged extends PortalEvent
{
    public function __construct(public Invoice $invoice, public string $from)
    {
    }

    /** @return list<Channel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel('invoice.'.$this->invoice->id), new PrivateChannel('client.'.$this->invoice->client_id)];
    }
}
