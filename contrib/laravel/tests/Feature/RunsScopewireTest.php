<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Illuminate\Support\Facades\DB;
use PHPUnit\Framework\Attributes\TestDox;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Testing\RunsScopewire;
use Scopewire\Laravel\Tests\TestCase;

class RunsScopewireTest extends TestCase
{
    use RunsScopewire;

    protected function scopewireConfiguration(): array
    {
        return ['sync' => ['presence_ttl_s' => 77]];
    }

    #[TestDox('the trait starts a daemon of its own, with a configuration, on a free port')]
    public function test_daemon(): void
    {
        $this->assertNotSame(TestCase::$daemon->port(), config('scopewire.port'));
        $this->assertSame(77, Scopewire::presence()->throw()->setOnline(7)['ttl']);
        $this->assertSame([7], array_map(fn ($r) => $r->user_id, DB::connection('scopewire')->select('SELECT user_id FROM scopewire.user_presence')));
        DB::connection('scopewire')->disconnect();
    }
}
