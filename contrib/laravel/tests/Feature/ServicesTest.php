<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use App\Models\Invoice;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Foundation\Queue\Queueable;
use Illuminate\Support\Facades\DB;
use PHPUnit\Framework\Attributes\TestDox;
use RuntimeException;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Tests\TestCase;

/** Activities and offline data. */
class ServicesTest extends TestCase
{
    protected function settings(): array
    {
        return ['scopewire.throw' => true];
    }

    #[TestDox('an activity is in the feeds of its client, project, user, subject, and in the global one')]
    public function test_feeds(): void
    {
        $feeds = Scopewire::activities();
        $user = $this->user($this->id());
        [$client, $project] = [$this->id(), $this->id()];
        $invoice = Invoice::create(['client_id' => $client, 'number' => 'F-1']);
        $added = $feeds->addActivity(type: 'invoice_paid', description: 'Paid', user: $user,
            subjectType: Invoice::class, subjectId: $invoice->id,
            metadata: ['client_id' => $client, 'project_id' => $project, 'amount' => 12.5]);
        $this->assertSame('Paid', $added['description']);
        foreach ([$feeds->getGlobalFeed(limit: 1), $feeds->getClientFeed($client, limit: 5), $feeds->getProjectFeed($project),
            $feeds->getFeedFor($user), $feeds->getSubjectFeed($invoice)] as $feed) {
            $this->assertSame([$added['id']], $feed->pluck('id')->all());
        }
        $this->assertSame([], $feeds->addActivity(type: 'plain')['metadata']);
    }

    #[TestDox('a feed is read up to an activity, and the rest is unread')]
    public function test_unread(): void
    {
        $feeds = Scopewire::activities();
        $client = $this->id();
        $ids = array_map(fn ($n) => $feeds->addActivity("t$n", metadata: ['client_id' => $client])['id'], [1, 2, 3]);
        $feed = ['feed' => 'client', 'client_id' => $client];
        $this->assertSame(3, $feeds->unread(7, $feed));
        $this->assertSame(1, $feeds->markRead(7, $feed, $ids[1]));
        $this->assertSame(0, $feeds->markRead(7, $feed));
    }

    #[TestDox('a feed that is longer than a page is complete')]
    public function test_long_feed(): void
    {
        $client = $this->id();
        $this->rows("SELECT scopewire.activity_add('t' || n, metadata => jsonb_build_object('client_id', ?::bigint), app => 'portal')
            FROM generate_series(1, 230) n", [$client]);
        $this->assertCount(230, Scopewire::activities()->getClientFeed($client, limit: 500)->unique('id'));
        $this->assertCount(205, Scopewire::activities()->getClientFeed($client, limit: 205));
    }

    #[TestDox('an activity of a transaction exists if the transaction commits')]
    public function test_activity_in_transaction(): void
    {
        $client = $this->id();
        $add = fn (string $type) => Scopewire::activities()->addActivity($type, metadata: ['client_id' => $client]);
        $id = DB::transaction(fn () => $add('kept')['id']);
        try {
            DB::transaction(function () use ($add) {
                $add('dropped');
                throw new RuntimeException('no');
            });
        } catch (RuntimeException) {
        }
        $this->assertSame([$id], Scopewire::activities()->getClientFeed($client)->pluck('id')->all());
    }

    #[TestDox('a retried job does not add its activities twice')]
    public function test_retried_job(): void
    {
        config(['queue.default' => 'database']);
        $client = $this->id();
        dispatch(new AddsAndFailsOnce($client));
        $this->command('queue:work', ['--once' => true]);
        $this->command('queue:work', ['--once' => true]);
        $this->assertSame(0, DB::table('jobs')->count());
        $this->assertSame(['second attempt', 'always'], Scopewire::activities()->getClientFeed($client)->pluck('type')->all());
    }

    #[TestDox('the state of a model is published, and its changes can be read')]
    public function test_data(): void
    {
        $data = Scopewire::data();
        $invoice = Invoice::create(['client_id' => 5, 'number' => 'D-1'])->refresh();
        $since = $data->changesSince(types: [Invoice::class], limit: 200)['since'];
        $this->assertSame(1, $data->publish($invoice));
        $this->assertSame(2, $data->publish($invoice, ['number' => 'D-2']));
        $changes = $data->changesSince($since, [Invoice::class]);
        $this->assertSame([[(string) $invoice->id, 2, ['number' => 'D-2']]],
            array_map(fn ($c) => [$c['resource_id'], $c['version'], $c['data']], $changes['changes']));
        $this->assertSame(["invoice:$invoice->id" => 2, 'note:none' => 0], $data->versions([$invoice, 'note:none'])->all());
        $this->assertSame(3, $data->publishDeletion($invoice));
        $this->assertTrue($data->changesSince($since, [Invoice::class])['changes'][0]['deleted']);
    }

    #[TestDox('mutations get a result each; a model that cannot be published is an error')]
    public function test_apply(): void
    {
        $id = $this->id();
        $mutation = ['mutation_id' => 'm1', 'resource_type' => 'note', 'resource_id' => $id, 'op' => 'upsert',
            'data' => [], 'expected_version' => 0];
        $results = Scopewire::data()->apply('phone', [$mutation, ['mutation_id' => 'm2'] + $mutation], 7);
        $this->assertSame([200, 409], array_column($results, 'status'));
        $invoice = Invoice::create(['client_id' => 5, 'number' => 'D-1']);
        $this->expectException(ScopewireException::class);
        $this->expectExceptionMessage('data_too_large');
        Scopewire::data()->publish($invoice, ['x' => str_repeat('x', 70000)]);
    }
}

class AddsAndFailsOnce implements ShouldQueue
{
    use Queueable;

    public int $tries = 2;

    public function __construct(private int $client)
    {
    }

    public function handle(): void
    {
        Scopewire::activities()->addActivity('always', metadata: ['client_id' => $this->client]);
        if ($this->attempts() === 1) {
            throw new RuntimeException('the first attempt fails');
        }
        Scopewire::activities()->addActivity('second attempt', metadata: ['client_id' => $this->client]);
    }
}
