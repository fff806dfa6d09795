<?php
// SPDX-License-Identifier: MIT
namespace App\Events;

use Illuminate\Broadcasting\EncryptedPrivateChannel;
use Illuminate\Contracts\Broadcasting\ShouldBroadcastNow;

class SecretShared implements ShouldBroadcastNow
{
    public function __construct(public string $secret)
    {
    }

    public function broadcastOn(): EncryptedPrivateChannel
    {
        return new EncryptedPrivateChannel('vault.1');
    }
}
