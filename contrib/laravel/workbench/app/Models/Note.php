<?php

// SPDX-License-Identifier: MIT

namespace App\Models;

use Illuminate\Database\Eloquent\Model;
use Scopewire\Laravel\Concerns\SyncsOffline;

/**
 * @property int $id
 * @property string $title
 * @property int $user_id
 */
class Note extends Model
{
    use SyncsOffline;

    protected $fillable = ['title'];

    /** @return array<string, list<string>> */
    public function syncRules(): array
    {
        return ['title' => ['required', 'string', 'max:20']];
    }
}
