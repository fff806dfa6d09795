<?php

// SPDX-License-Identifier: MIT

namespace App\Models;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Database\Eloquent\Relations\BelongsTo;
use Illuminate\Database\Eloquent\Relations\HasMany;
use Illuminate\Support\Number;

class Invoice extends Model
{
    protected $guarded = [];

    protected $casts = ['due_at' => 'date'];

    public function client(): BelongsTo
    {
        return $this->belongsTo(Client::class);
    }

    public function project(): BelongsTo
    {
        return $this->belongsTo(Project::class);
    }

    public function payments(): HasMany
    {
        return $this->hasMany(Payment::class);
    }

    /** @return array<string, mixed> as the page shows it */
    public function toPage(): array
    {
        return ['id' => $this->id, 'number' => $this->number, 'status' => $this->status,
            'total' => Number::currency($this->amount / 100), 'project_id' => $this->project_id];
    }
}
