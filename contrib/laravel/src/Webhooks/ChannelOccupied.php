<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Webhooks;

/** The first client subscribed to a channel. */
class ChannelOccupied extends Webhook
{
}
