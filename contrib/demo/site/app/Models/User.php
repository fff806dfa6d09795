<?php

// SPDX-License-Identifier: MIT

namespace App\Models;

use Illuminate\Database\Eloquent\Builder;
use Illuminate\Database\Eloquent\Relations\BelongsToMany;
use Illuminate\Foundation\Auth\User as Authenticatable;

class User extends Authenticatable
{
    protected $guarded = [];

    protected $casts = ['roles' => 'array'];

    public function clients(): BelongsToMany
    {
        return $this->belongsToMany(Client::class);
    }

    /** A demonstration: there are no passwords. */
    public function getAuthPassword(): string
    {
        return '';
    }

    public function isAdmin(): bool
    {
        return in_array('admin', $this->roles, true);
    }

    /**
     * What the user may see: everything of its clients; administrators see all.
     *
     * @template T of \Illuminate\Database\Eloquent\Model
     *
     * @param Builder<T> $query of a model with client_id
     * @return Builder<T>
     */
    public function visible(Builder $query): Builder
    {
        return $this->isAdmin() ? $query : $query->whereIn('client_id', $this->clients()->pluck('clients.id'));
    }
}
