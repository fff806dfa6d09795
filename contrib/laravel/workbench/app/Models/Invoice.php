<?php

// SPDX-License-Identifier: MIT

namespace App\Models;

use Illuminate\Database\Eloquent\Model;

/**
 * @property int $id
 * @property int $client_id
 * @property string $number
 * @property string $status
 */
class Invoice extends Model
{
    protected $guarded = [];
}
