<?php

// SPDX-License-Identifier: MIT

namespace App\Events;

use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\PrivateChannel;

/** A timer was started or stopped, or an entry changed. */
class TimeEntryUpdated extends PortalEvent
{
    public function __construct(public int $userId, public int $timesheetId, public int $seconds, public bool $isRunning)
    {
    }

    /** @return list<Channel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel('timer.'.$this->userId), new PrivateChannel('timesheet.'.$this->timesheetId)];
    }
}
