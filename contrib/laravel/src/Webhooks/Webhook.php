<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Webhooks;

/**
 * What the daemon reports about a channel.  An event can arrive twice: the daemon sends it again
 * when it has received no answer.
 */
abstract class Webhook
{
    /**
     * @param string $channel as on the wire: private-client.7
     * @param int $timeMs when the daemon sent it, in milliseconds since 1970
     * @param array<string, mixed> $payload the event as it was received
     */
    public function __construct(
        public readonly string $channel,
        public readonly int $timeMs,
        public readonly array $payload,
    ) {
    }
}
