<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Facades;

use Illuminate\Support\Facades\Facade;
use Scopewire\Laravel\Testing\ScopewireFake;

/** @mixin \Scopewire\Laravel\Scopewire */
class Scopewire extends Facade
{
    /** For tests: nothing is sent, and assertPublished() and others look at what would have been. */
    public static function fake(): ScopewireFake
    {
        $fake = new ScopewireFake(static::getFacadeApplication());
        static::swap($fake);

        return $fake;
    }

    protected static function getFacadeAccessor(): string
    {
        return \Scopewire\Laravel\Scopewire::class;
    }
}
