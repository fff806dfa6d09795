<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Webhooks;

/** A user's first connection joined a presence channel. */
class MemberAdded extends Webhook
{
    public function userId(): string
    {
        return (string) ($this->payload['user_id'] ?? '');
    }
}
