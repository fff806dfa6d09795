<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use App\Models\Invoice;
use Illuminate\Database\Eloquent\Relations\Relation;
use PHPUnit\Framework\Attributes\TestDox;
use Scopewire\Laravel\Services\PresenceService;
use Scopewire\Laravel\Tests\TestCase;

class PresenceTest extends TestCase
{
    private PresenceService $presence;

    protected function setUp(): void
    {
        parent::setUp();
        $this->presence = app(PresenceService::class)->throw();
    }

    #[TestDox('a user that is set online is online, at its location')]
    public function test_online(): void
    {
        $user = $this->user($this->id());
        $this->assertFalse($this->presence->isOnline($user->id));
        $this->assertNull($this->presence->lastSeen($user->id));
        $answer = $this->presence->setOnline($user, 'Projects', ['device' => 'phone']);
        $this->assertSame('online', $answer['status']);
        $this->assertTrue($this->presence->isOnline($user->id));
        $this->assertTrue($this->presence->isOnline($user));
        $row = $this->presence->getOnlineUsers('Projects')->firstWhere('user_id', $user->id);
        $this->assertSame(['device' => 'phone'], $row['info']);
        $this->assertTrue($this->presence->lastSeen($user->id)->diffInSeconds() < 60);
    }

    #[TestDox('a user that is set offline is offline, and was seen')]
    public function test_offline(): void
    {
        $id = $this->id();
        $this->presence->setStatus($id, 'away', info: []);
        $this->assertTrue($this->presence->isOnline($id));
        $this->assertSame([$id], $this->presence->getOnlineUsers(status: 'away')->pluck('user_id')->intersect([$id])->values()->all());
        $this->presence->setOffline($id);
        $this->assertFalse($this->presence->isOnline($id));
        $this->assertNotNull($this->presence->lastSeen($id));
    }

    #[TestDox('viewers are those of the resource, by type and id, by model, and for several ids')]
    public function test_viewers(): void
    {
        [$id, $other, $user] = [$this->id(), $this->id(), $this->id()];
        $this->presence->setViewingResource($user, 'project', $id);
        $this->assertSame([$user], $this->presence->getUsersViewingResource('project', $id)->pluck('user_id')->all());
        $several = $this->presence->getUsersViewingResource('project', [$id, $other]);
        $this->assertSame([$user], $several[$id]->pluck('user_id')->all());
        $this->assertCount(0, $several[$other]);
        $this->assertSame([['project', (string) $id]], $this->presence->getResourcesViewedBy($user)
            ->map(fn (array $one) => [$one['resource_type'], $one['resource_id']])->all());
        $many = $this->presence->getUsersViewingResource('project', range($id, $id + 149));
        $this->assertCount(150, $many);
        $this->assertSame([$user], $many->filter->isNotEmpty()->flatten(1)->pluck('user_id')->all());
        $this->assertTrue($this->presence->stopViewing($user, 'project', $id));
        $this->assertFalse($this->presence->stopViewing($user, 'project', $id));

        $invoice = Invoice::create(['client_id' => 1, 'number' => 'V-1']);
        $this->presence->setViewingResource($user, $invoice, mode: 'editing');
        $this->assertSame(['editing'], $this->presence->getUsersViewingResource('invoice', $invoice->id)->pluck('mode')->all());
        Relation::morphMap(['bill' => Invoice::class]);
        try {
            $this->assertCount(0, $this->presence->getUsersViewingResource($invoice));
        } finally {
            Relation::morphMap([], false);
        }
    }

    #[TestDox('a list that is longer than a page is complete')]
    public function test_pages(): void
    {
        $first = $this->id();
        $users = range($first, $first + 229);
        $location = "room $first";
        foreach ($users as $n) {
            $this->rows("INSERT INTO scopewire.user_presence (app, user_id, location, status, last_seen_at, heartbeat_at)
                VALUES ('portal', ?, ?, 'online', now(), now())", [$n, $location]);
        }
        $this->assertSame($users, $this->presence->getOnlineUsers($location)->pluck('user_id')->all());
        $this->assertCount(210, $this->presence->getOnlineUsers($location, limit: 210));
        $this->assertSame(230, $this->presence->countOnlineUsers($location));
        $this->rows('DELETE FROM scopewire.user_presence WHERE location = ?', [$location]);
    }
}
