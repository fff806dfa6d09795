<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use PHPUnit\Framework\Attributes\TestDox;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Tests\TestCase;

class LocksTest extends TestCase
{
    protected function settings(): array
    {
        return ['scopewire.throw' => true];
    }

    #[TestDox('a lock is acquired, requested, refused, granted, taken and released')]
    public function test_locks(): void
    {
        $locks = Scopewire::locks();
        [$ada, $grace, $id] = [$this->id(), $this->id(), $this->id()];
        $this->assertNull($locks->getLock('invoice', $id, 'title'));
        $this->assertNull($locks->request($grace, 'invoice', $id, 'title'));
        $lock = $locks->acquire($ada, 'invoice', $id, 'title', ttl: 60);
        $this->assertSame([$ada, 'title', 60], [$lock['user_id'], $lock['field'], $lock['ttl']]);
        $this->assertNull($locks->acquire($grace, 'invoice', $id, 'title'));
        $this->assertSame($grace, $locks->request($grace, 'invoice', $id, 'title')['user_id']);
        $this->assertSame([$grace], array_column($locks->getLock('invoice', $id, 'title')['requests'], 'user_id'));
        $this->assertTrue($locks->refuse($ada, $grace, 'invoice', $id, 'title', 'Almost done'));
        $this->assertNull($locks->grant($ada, $grace, 'invoice', $id, 'title'));
        $locks->request($grace, 'invoice', $id, 'title');
        $this->assertSame($grace, $locks->grant($ada, $grace, 'invoice', $id, 'title')['user_id']);
        $this->assertSame($ada, $locks->steal($ada, 'invoice', $id, 'title')['user_id']);
        $locks->acquire($ada, 'invoice', $id);
        $this->assertSame([null, 'title'], $locks->getLocksOf($ada)->pluck('field')->all());
        $this->assertFalse($locks->release($grace, 'invoice', $id, 'title'));
        $this->assertTrue($locks->release($ada, 'invoice', $id, 'title'));
        $this->assertTrue($locks->forceRelease('invoice', $id));
        $this->assertCount(0, $locks->getLocksOf($ada));
    }

    #[TestDox('a daemon that cannot be reached breaks no page')]
    public function test_failure(): void
    {
        config(['scopewire.port' => 1, 'scopewire.throw' => false]);
        $this->assertNull(Scopewire::locks()->acquire(1, 'invoice', 1));
        $this->assertFalse(Scopewire::locks()->release(1, 'invoice', 1));
        $this->assertCount(0, Scopewire::locks()->getLocksOf(1));
    }
}
