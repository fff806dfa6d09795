<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use App\Events\FileUploaded;
use App\Events\InvoiceCreated;
use App\Models\Invoice;
use Illuminate\Support\Facades\DB;
use PHPUnit\Framework\Attributes\TestDox;
use PHPUnit\Framework\ExpectationFailedException;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Services\ActivityFeedService;
use Scopewire\Laravel\Services\PresenceService;
use Scopewire\Laravel\Services\RealtimeNotificationService;
use Scopewire\Laravel\Testing\ScopewireFake;
use Scopewire\Laravel\Tests\TestCase;

class FakeTest extends TestCase
{
    private ScopewireFake $fake;

    protected function setUp(): void
    {
        parent::setUp();
        config(['scopewire.port' => 1]);
        $this->fake = Scopewire::fake();
    }

    private function assertFails(callable $assertion): void
    {
        try {
            $assertion();
        } catch (ExpectationFailedException) {
            return;
        }
        $this->fail('The assertion holds, and should not.');
    }

    #[TestDox('events are recorded instead of sent: with assertPublished() and assertNotPublished()')]
    public function test_published(): void
    {
        $this->fake->assertNothingPublished();
        event(new FileUploaded(5, 1, 'a.pdf', 7));
        Scopewire::publish('news', 'Hello', ['n' => 1]);
        $this->fake->assertPublished(FileUploaded::class);
        $this->fake->assertPublished(FileUploaded::class, 'private-project.5', 1);
        $this->fake->assertPublished('Hello', fn (array $data, array $channels) => $data['n'] === 1 && $channels === ['news']);
        $this->fake->assertNotPublished(FileUploaded::class, 'private-project.6');
        $this->fake->assertNotPublished(InvoiceCreated::class);
        $this->assertFails(fn () => $this->fake->assertPublished(InvoiceCreated::class));
        $this->assertFails(fn () => $this->fake->assertNotPublished('Hello'));
        $this->assertFails(fn () => $this->fake->assertPublished('Hello', null, 2));
        $this->assertFails(fn () => $this->fake->assertNothingPublished());
    }

    #[TestDox('an event of a transaction is published when it commits')]
    public function test_transaction(): void
    {
        DB::beginTransaction();
        event(new InvoiceCreated(new Invoice(['client_id' => 1])));
        DB::rollBack();
        $this->fake->assertNothingPublished();
        DB::transaction(function () {
            event(new InvoiceCreated(new Invoice(['client_id' => 1])));
            $this->fake->assertNothingPublished();
        });
        $this->fake->assertPublished(InvoiceCreated::class, 'private-client.1', 1);
    }

    #[TestDox('messages and calls are recorded')]
    public function test_notified(): void
    {
        $this->assertSame(2, app(RealtimeNotificationService::class)->notifyMany([7, 8], ['title' => 'Due', 'data' => ['n' => 1]]));
        app(PresenceService::class)->throw()->setOnline(7, 'Projects');
        $this->assertSame('x', app(ActivityFeedService::class)->addActivity('x')['type']);
        $this->fake->assertNotified(8);
        $this->fake->assertNotified(7, 'Due');
        $this->fake->assertNotified(7, fn (array $n) => $n['data'] === ['n' => 1]);
        $this->fake->assertNotNotified(9);
        $this->fake->assertNotNotified(7, 'Paid');
        $this->assertFails(fn () => $this->fake->assertNotified(9));
        $this->assertSame(['Projects'], array_column($this->fake->calls('POST', 'heartbeat'), 'location'));
        $this->assertSame('', $this->log());
    }
}
