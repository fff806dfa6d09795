<?php

// SPDX-License-Identifier: MIT

namespace App\Models;

use Illuminate\Support\Facades\Cache;

/** What an application has in its database. */
class Invoice
{
    /** @return list<string> */
    public static function numbers(): array
    {
        return Cache::get('invoices', []);
    }

    public static function add(string $number): string
    {
        Cache::forever('invoices', [...self::numbers(), $number]);

        return $number;
    }
}
