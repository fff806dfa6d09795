<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Webhooks;

/** A client sent an event to the others of its channel. */
class ClientEvent extends Webhook
{
    public function event(): string
    {
        return (string) ($this->payload['event'] ?? '');
    }

    /** Decoded, if it is JSON. */
    public function data(): mixed
    {
        $data = $this->payload['data'] ?? null;

        return is_string($data) ? json_decode($data, true) ?? $data : $data;
    }

    public function socketId(): ?string
    {
        return $this->payload['socket_id'] ?? null;
    }

    /** On presence channels. */
    public function userId(): ?string
    {
        return isset($this->payload['user_id']) ? (string) $this->payload['user_id'] : null;
    }
}
