<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use App\Events;
use App\Models\Invoice;
use Closure;
use Illuminate\Support\Facades\DB;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\Attributes\TestDox;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Tests\TestCase;

/** The portal's events and channels, as workbench/ has them. */
class PortalTest extends TestCase
{
    protected function channels(): string
    {
        return __DIR__.'/../../workbench/routes/channels.php';
    }

    /** @return iterable<string, array{Closure(int): object, list<string>}> the event with an id, and its channels */
    public static function portal(): iterable
    {
        $invoice = fn (int $id) => Invoice::firstOrCreate(['id' => $id], ['client_id' => $id, 'number' => 'P-1']);
        yield 'InvoiceCreated' => [fn ($id) => new Events\InvoiceCreated($invoice($id)), ['private-client.{id}', 'private-admin']];
        yield 'InvoiceStatusChanged' => [fn ($id) => new Events\InvoiceStatusChanged($invoice($id), 'draft'), ['private-invoice.{id}', 'private-client.{id}']];
        yield 'ProjectUpdated' => [fn ($id) => new Events\ProjectUpdated($id, $id, ['name' => 'x']), ['private-project.{id}', 'presence-project.{id}', 'private-client.{id}']];
        yield 'FileUploaded' => [fn ($id) => new Events\FileUploaded($id, 1, 'a.pdf', 7), ['private-project.{id}']];
        yield 'FileDeleted' => [fn ($id) => new Events\FileDeleted($id, 1, 7), ['private-project.{id}']];
        yield 'NotificationReceived' => [fn ($id) => new Events\NotificationReceived($id, 'Due', 'On Friday'), ['private-App.Models.User.{id}', 'private-User.{id}']];
        yield 'CommentAdded' => [fn ($id) => new Events\CommentAdded('workflow', $id, 'Hello', 7), ['private-workflow.{id}']];
        yield 'TimeEntryUpdated' => [fn ($id) => new Events\TimeEntryUpdated($id, $id, 60, true), ['private-timer.{id}', 'private-timesheet.{id}']];
        yield 'ActivityFeedUpdated' => [fn ($id) => new Events\ActivityFeedUpdated(['id' => $id]), ['private-admin']];
        yield 'UserPresenceChanged' => [fn ($id) => new Events\UserPresenceChanged($id, 'away', $id), ['presence-presence.online', 'presence-presence.client.{id}']];
    }

    /**
     * @param Closure(int): object $event
     * @param list<string> $channels
     */
    #[DataProvider('portal')]
    #[TestDox('an event of the portal goes to its channels if the transaction commits:')]
    public function test_event(Closure $event, array $channels): void
    {
        $id = $this->id();
        $names = array_map(fn ($name) => str_replace('{id}', (string) $id, $name), $channels);
        DB::beginTransaction();
        $happened = $event($id);
        event($happened);
        DB::rollBack();
        DB::transaction(fn () => event($event($id)));
        foreach ($names as $name) {
            // Channels without an id are shared with other tests: their newest event is this one's.
            $row = $this->waitFor(fn () => $this->events($happened::class, $name)->last(), "$name's event");
            $this->assertIsArray(json_decode($row->payload, true));
            str_contains($name, (string) $id) && $this->assertCount(1, $this->events($happened::class, $name));
            $this->assertTrue(Scopewire::channels()->explain(7, $name)['reason'] !== '');
            $this->assertStringNotContainsString('no rule has a pattern', Scopewire::channels()->explain(7, $name)['reason']);
        }
    }

    #[TestDox('the channels of the portal are open to the users of its tables, to owners and to roles')]
    public function test_channels(): void
    {
        Scopewire::channels()->write();
        try {
            $user = $this->user($this->id());
            [$client, $project] = [$this->id(), $this->id()];
            DB::table('client_user')->insert(['client_id' => $client, 'user_id' => $user->id]);
            DB::table('projects')->insert(['id' => $project, 'client_id' => $client]);
            DB::table('timesheets')->insert(['id' => $project, 'user_id' => $user->id]);
            DB::table('project_user')->insert(['project_id' => $project + 1, 'user_id' => $user->id]);
            DB::table('documents')->insert(['id' => $project, 'project_id' => $project + 1]);
            DB::table('workflows')->insert(['id' => $project, 'project_id' => $project + 1]);
            $invoice = Invoice::create(['client_id' => $client, 'number' => 'C-1'])->id;
            $mine = ["private-App.Models.User.$user->id", "private-User.$user->id", "private-timer.$user->id", 'presence-online', 'presence-presence.online',
                "private-client.$client", "presence-client.$client", "presence-presence.client.$client", "private-project.$project", "presence-project.$project",
                "private-invoice.$invoice", "presence-document.$project", "private-timesheet.$project", "private-workflow.$project", 'portal'];
            foreach ($mine as $channel) {
                $this->assertTrue(Scopewire::channels()->can($user, $channel), $channel);
            }
            $others = ['private-admin', 'private-User.1', 'private-timer.1', 'private-client.1', 'private-project.1', 'private-invoice.0',
                'presence-document.1', 'private-timesheet.1', 'private-workflow.1', 'private-client.abc'];
            foreach ($others as $channel) {
                $this->assertFalse(Scopewire::channels()->can($user, $channel), $channel);
            }
            $user->roles = ['admin'];
            $this->assertTrue(Scopewire::channels()->can($user, 'private-admin'));
            $this->assertTrue(Scopewire::channels()->can($user, 'private-client.1'));
        } finally {
            DB::table('scopewire.channel_rules')->delete();
        }
    }
}
