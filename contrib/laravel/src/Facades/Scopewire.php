<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Facades;

use Illuminate\Support\Facades\Facade;

/** @mixin \Scopewire\Laravel\Scopewire */
class Scopewire extends Facade
{
    protected static function getFacadeAccessor(): string
    {
        return \Scopewire\Laravel\Scopewire::class;
    }
}
