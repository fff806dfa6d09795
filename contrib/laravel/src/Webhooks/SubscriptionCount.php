<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Webhooks;

/** The number of subscriptions of a channel changed. */
class SubscriptionCount extends Webhook
{
    public function count(): int
    {
        return (int) ($this->payload['subscription_count'] ?? 0);
    }
}
