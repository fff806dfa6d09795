<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Webhooks;

/** A notification reached no socket of its user in time, and is unread: send a mail, or push it. */
class NotificationUndelivered extends Webhook
{
    public function userId(): string
    {
        return (string) ($this->payload['user_id'] ?? '');
    }

    /** @return array<string, mixed> id, type, title, message, data, read_at, created_at */
    public function notification(): array
    {
        return (array) ($this->payload['notification'] ?? []);
    }
}
