<?php

// SPDX-License-Identifier: MIT

namespace App\Models;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Database\Eloquent\Relations\BelongsTo;

class TimeEntry extends Model
{
    protected $guarded = [];

    public function user(): BelongsTo
    {
        return $this->belongsTo(User::class);
    }

    /** @return array<string, mixed> as the page shows it */
    public function toPage(): array
    {
        return ['id' => $this->id, 'task' => $this->task, 'hours' => $this->minutes / 60,
            'user' => $this->user?->only('id', 'name'), 'created_at' => $this->created_at];
    }
}
