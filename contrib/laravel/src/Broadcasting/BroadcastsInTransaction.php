<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Broadcasting;

use Illuminate\Contracts\Broadcasting\ShouldBroadcastNow;

/**
 * An event that is broadcast when it is dispatched, without a queue.  In a transaction of the
 * daemon's database it is written through that transaction: it is delivered if, and only if, the
 * transaction commits.  Outside of one it is sent over HTTP at once.
 */
interface BroadcastsInTransaction extends ShouldBroadcastNow
{
}
