<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Webhooks;

/** No client is subscribed to a channel any more. */
class ChannelVacated extends Webhook
{
}
