<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Webhooks;

/** A subscriber of a cache channel received no event: publish its state. */
class CacheMiss extends Webhook
{
}
