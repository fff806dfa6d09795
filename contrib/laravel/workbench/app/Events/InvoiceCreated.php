<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use App\Models\Invoice;
use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\PrivateChannel;

/** An invoice was created. */
class InvoiceCreated extends PortalEvent
{
    public function __construct(public Invoice $invoice)
    {
    }

    /** @return list<Channel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel('client.'.$this->invoice->client_id), new PrivateChannel('admin')];
    }
}
