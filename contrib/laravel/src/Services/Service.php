<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Services;

use Scopewire\Laravel\Client;
use Scopewire\Laravel\Support\Users;

/**
 * What the services have in common.  A call that fails is logged once and returns an empty result
 * (an empty array or collection, false, 0 or null), unless throw is set.
 */
abstract class Service
{
    public function __construct(protected Client $client, protected Users $users)
    {
    }

    /** The same service, whose calls throw a ScopewireException when they fail. */
    public function throw(bool $throw = true): static
    {
        $other = clone $this;
        $other->client = $this->client->throwing($throw);

        return $other;
    }

    /** The same service, whose calls take no longer than these seconds. */
    public function within(float $seconds): static
    {
        $other = clone $this;
        $other->client = $this->client->within($seconds);

        return $other;
    }

    /**
     * An object for JSON, also when it is empty.
     *
     * @param array<string, mixed>|null $value
     */
    protected function object(?array $value): ?object
    {
        return $value === null ? null : (object) $value;
    }
}
