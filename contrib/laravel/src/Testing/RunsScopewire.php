<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Testing;

use PHPUnit\Framework\Attributes\AfterClass;

/**
 * For a test class of an application: a real daemon, started with the first test of the class on a
 * free port, and stopped after the last.  Its database is the connection "scopewire".  The program
 * is the variable SCOPEWIRED, or scopewired in the PATH.
 */
trait RunsScopewire // @phpstan-ignore trait.unused
{
    protected static ?Daemon $scopewire = null;

    /** Laravel's test case calls it before each test. */
    protected function setUpRunsScopewire(): void
    {
        self::$scopewire ??= Daemon::start($this->scopewireConfiguration());
        foreach (self::$scopewire->settings() as $name => $value) {
            config(["scopewire.$name" => $value]);
        }
        config([
            'database.connections.scopewire' => self::$scopewire->connection(),
            'broadcasting.default' => 'scopewire',
        ]);
    }

    /**
     * Sections of the daemon's configuration.
     *
     * @return array<string, array<string, string|int>>
     */
    protected function scopewireConfiguration(): array
    {
        return [];
    }

    #[AfterClass]
    public static function stopScopewire(): void
    {
        self::$scopewire?->stop();
        self::$scopewire = null;
    }
}
