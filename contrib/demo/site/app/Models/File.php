<?php

// SPDX-License-Identifier: MIT

namespace App\Models;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Database\Eloquent\Relations\BelongsTo;
use Illuminate\Support\Number;

class File extends Model
{
    /** Of one upload; PHP's own limit (upload_max_filesize) has this default too. */
    public const MOST_KB = 2048;

    protected $guarded = [];

    public function user(): BelongsTo
    {
        return $this->belongsTo(User::class);
    }

    /** @return array<string, mixed> as the page shows it */
    public function toPage(): array
    {
        return ['id' => $this->id, 'name' => $this->name, 'size' => Number::fileSize($this->bytes),
            'user' => $this->user?->only('id', 'name'), 'created_at' => $this->created_at];
    }
}
