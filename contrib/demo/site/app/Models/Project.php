<?php

// SPDX-License-Identifier: MIT

namespace App\Models;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Database\Eloquent\Relations\BelongsTo;
use Illuminate\Database\Eloquent\Relations\HasMany;
use Scopewire\Laravel\Concerns\SyncsOffline;

class Project extends Model
{
    use SyncsOffline;

    // What the form of the brief edits, also offline; name and client are not in it.
    protected $fillable = ['goal', 'scope', 'due'];

    public function client(): BelongsTo
    {
        return $this->belongsTo(Client::class);
    }

    public function invoices(): HasMany
    {
        return $this->hasMany(Invoice::class);
    }

    public function updates(): HasMany
    {
        return $this->hasMany(Update::class);
    }

    public function files(): HasMany
    {
        return $this->hasMany(File::class);
    }

    public function timeEntries(): HasMany
    {
        return $this->hasMany(TimeEntry::class);
    }

    public function comments(): HasMany
    {
        return $this->hasMany(Comment::class);
    }

    /** @return array<string, mixed> */
    public function syncRules(): array
    {
        return ['goal' => 'nullable|string|max:200', 'scope' => 'nullable|string|max:4000', 'due' => 'nullable|string|max:40'];
    }
}
