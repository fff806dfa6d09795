<?php

// SPDX-License-Identifier: MIT

namespace App\Models;

use Illuminate\Foundation\Auth\User as Authenticatable;
use Illuminate\Notifications\Notifiable;

class User extends Authenticatable
{
    use Notifiable;

    protected $guarded = [];

    /** @var list<string> roles, which a real application has in a table */
    public array $roles = [];
}
