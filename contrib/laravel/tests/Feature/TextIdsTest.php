<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Illuminate\Support\Facades\DB;
use PHPUnit\Framework\Attributes\TestDox;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Testing\RunsScopewire;
use Scopewire\Laravel\Tests\TestCase;

class TextIdsTest extends TestCase
{
    use RunsScopewire;

    private const ULID = '01JDY8Q5T3M8W2K4N6P7R9S0VX';

    protected function settings(): array
    {
        return ['scopewire.throw' => true, 'scopewire.user_id' => 'text'];
    }

    protected function scopewireConfiguration(): array
    {
        return ['sync' => ['user_id' => 'text']];
    }

    protected function tearDown(): void
    {
        DB::connection('scopewire')->disconnect();
        parent::tearDown();
    }

    #[TestDox('ids are text in presence, tokens and locks, also those that are digits')]
    public function test_ids(): void
    {
        foreach ([self::ULID, '7', 8] as $id) {
            $this->assertSame((string) $id, Scopewire::presence()->setOnline($id)['user_id']);
            $this->assertTrue(Scopewire::presence()->isOnline($id));
            $claims = json_decode(base64_decode(strtr(explode('.', Scopewire::token($id))[1], '-_', '+/')), true);
            $this->assertSame((string) $id, $claims['sub']);
        }
        $this->assertSame([self::ULID, '7', '8'], Scopewire::presence()->getOnlineUsers()->pluck('user_id')->sort(SORT_STRING)->values()->all());
        $this->assertSame(self::ULID, Scopewire::locks()->acquire(self::ULID, 'note', 1)['user_id']);
    }

    #[TestDox('scopewire:check compares the type of ids with that of the daemon')]
    public function test_check(): void
    {
        config(['scopewire.database.connections' => 'scopewire']);
        [$status, $output] = $this->command('scopewire:check');
        $this->assertSame(0, $status, $output);
        $this->assertStringContainsString('ids of users: text', $output);
        config(['scopewire.user_id' => 'bigint']);
        $this->app->forgetScopedInstances();
        [$status, $output] = $this->command('scopewire:check');
        $this->assertSame(1, $status, $output);
        $this->assertStringContainsString('ids of users: scopewire.user_id is bigint, and the daemon\'s sync.user_id is text', $output);
    }

    #[TestDox('messages and activities of text ids are sent over HTTP, and in a transaction')]
    public function test_notify(): void
    {
        config(['scopewire.database.connections' => 'scopewire']);
        $this->assertSame(2, Scopewire::notifications()->notifyMany([self::ULID, '7'], ['title' => 'Over HTTP']));
        DB::connection('scopewire')->transaction(function (): void {
            $this->assertSame(2, Scopewire::notifications()->notifyMany([self::ULID, '7'], ['title' => 'In a transaction']));
            Scopewire::activities()->addActivity('paid', user: self::ULID);
        });
        foreach ([self::ULID, '7'] as $id) {
            $this->assertSame(['In a transaction', 'Over HTTP'],
                Scopewire::notifications()->getNotifications($id)->pluck('title')->sort()->values()->all());
        }
        $this->assertSame(self::ULID, Scopewire::activities()->getFeedFor(self::ULID)[0]['user_id']);
    }
}
