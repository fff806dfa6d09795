<?php

// SPDX-License-Identifier: MIT

namespace App\Models;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Database\Eloquent\Relations\BelongsTo;

class Comment extends Model
{
    protected $guarded = [];

    public function user(): BelongsTo
    {
        return $this->belongsTo(User::class);
    }

    /** @return array<string, mixed> as the page shows it */
    public function toPage(): array
    {
        return ['id' => $this->id, 'body' => $this->body, 'client_ref' => $this->client_ref,
            'user' => $this->user->only('id', 'name'), 'created_at' => $this->created_at];
    }
}
