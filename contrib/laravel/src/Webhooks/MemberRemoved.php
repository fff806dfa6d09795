<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Webhooks;

/** A user's last connection left a presence channel. */
class MemberRemoved extends Webhook
{
    public function userId(): string
    {
        return (string) ($this->payload['user_id'] ?? '');
    }
}
