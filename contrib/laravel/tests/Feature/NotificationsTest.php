<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use App\Models\User;
use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\EncryptedPrivateChannel;
use Illuminate\Broadcasting\PrivateChannel;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Log\Events\MessageLogged;
use Illuminate\Notifications\Notifiable;
use Illuminate\Notifications\Notification;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Event;
use InvalidArgumentException;
use PHPUnit\Framework\Attributes\TestDox;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Tests\TestCase;

class NotificationsTest extends TestCase
{
    private const CREATED = 'Illuminate\Notifications\Events\BroadcastNotificationCreated';

    private User $ada;

    private User $grace;

    protected function settings(): array
    {
        return ['scopewire.throw' => true];
    }

    protected function setUp(): void
    {
        parent::setUp();
        $this->ada = $this->user($this->id(), 'Ada');
        $this->grace = $this->user($this->id(), 'Grace');
    }

    private function channel(User $user): string
    {
        return "private-App.Models.User.$user->id";
    }

    #[TestDox('a message reaches each user once, and is in the inbox')]
    public function test_array(): void
    {
        $sent = Scopewire::notifications()->notifyMany([$this->ada, $this->grace, $this->ada->id],
            ['title' => 'Due', 'message' => 'On Friday', 'data' => ['url' => '/1']]);
        $this->assertSame(2, $sent);
        $inbox = Scopewire::notifications()->getNotifications($this->ada);
        $this->assertSame([['Due', 'On Friday', ['url' => '/1']]], $inbox->map(fn ($n) => [$n['title'], $n['message'], $n['data']])->all());
        $this->assertSame(1, Scopewire::notifications()->unreadCount($this->ada));
        $this->assertSame(1, Scopewire::notifications()->markRead($this->ada, [$inbox[0]['id']]));
        $this->assertSame(0, Scopewire::notifications()->unreadCount($this->ada));
        $this->assertSame(0, Scopewire::notifications()->notifyMany([], ['title' => 'x']));
        $this->assertCount(1, $this->waitFor(fn () => $this->events(self::CREATED, $this->channel($this->grace))->all()));
    }

    #[TestDox('a message of a transaction exists if the transaction commits')]
    public function test_transaction(): void
    {
        DB::beginTransaction();
        $this->assertSame(1, Scopewire::notifications()->notify($this->ada, ['title' => 'no']));
        DB::rollBack();
        DB::transaction(fn () => Scopewire::notifications()->notify($this->ada, ['title' => 'yes']));
        $this->assertSame(['yes'], Scopewire::notifications()->getNotifications($this->ada)->pluck('title')->all());
    }

    #[TestDox('a message goes to the channel of any notifiable, in a transaction and outside of one')]
    public function test_any_notifiable(): void
    {
        $message = ['title' => 'Due', 'channel' => 'private-App.Models.Customer.{id}'];
        Scopewire::notifications()->notify($this->ada, $message);
        DB::transaction(fn () => Scopewire::notifications()->notify($this->grace, $message));
        foreach ([$this->ada, $this->grace] as $user) {
            $this->assertCount(1, $this->waitFor(fn () => $this->events(self::CREATED, "private-App.Models.Customer.$user->id")->all()));
        }
        $this->assertCount(0, $this->events(self::CREATED, $this->channel($this->ada)));
    }

    #[TestDox('a role that no user has is an error that names it, unless allow_empty is set')]
    public function test_allow_empty(): void
    {
        $workflow = ['to' => 'role:nobody-has-it', 'title' => 'Due'];
        $this->assertSame(0, Scopewire::notifications()->notifyWorkflow($workflow + ['allow_empty' => true]));
        $this->expectExceptionMessage('nobody-has-it');
        Scopewire::notifications()->notifyWorkflow($workflow);
    }

    #[TestDox('workflow configurations of both formats are sent')]
    public function test_workflow(): void
    {
        $this->ada->roles = ['role'.$this->ada->id];
        Scopewire::saveUser($this->ada);
        $service = Scopewire::notifications();
        $this->assertSame(1, $service->notifyWorkflow(['recipient_type' => 'role', 'recipient_role' => 'role'.$this->ada->id,
            'title' => 'A', 'message' => 'one'], ['url' => '/a']));
        $this->assertSame(1, $service->notifyWorkflow(['to' => 'user:'.$this->ada->id, 'title' => 'B', 'body' => 'two']));
        $this->assertSame([['B', 'two'], ['A', 'one']], $service->getNotifications($this->ada)
            ->map(fn ($n) => [$n['title'], $n['message']])->all());
        $this->expectException(InvalidArgumentException::class);
        $this->expectExceptionMessage('"titel"');
        $service->notifyWorkflow(['to' => 1, 'titel' => 'x']);
    }

    #[TestDox('via scopewire: the daemon stores the notification, under the name of its class')]
    public function test_channel(): void
    {
        $this->ada->notify(new OverScopewire);
        $this->assertSame(1, Scopewire::notifications()->notify($this->ada, new OverScopewire));
        $this->assertSame([[OverScopewire::class, 'Paid', 'Thanks', ['number' => 7]]], Scopewire::notifications()
            ->getNotifications($this->ada)->map(fn ($n) => [$n['type'], $n['title'], $n['message'], $n['data']])->unique()->all());
        $this->assertSame(0, DB::table('notifications')->where('notifiable_id', $this->ada->id)->count());
    }

    #[TestDox('via scopewire: a notifiable with a private channel is reached there, one with another kind as a user, with a line of the log')]
    public function test_own_channel(): void
    {
        $warnings = [];
        Event::listen(MessageLogged::class, function (MessageLogged $e) use (&$warnings): void {
            $warnings[] = $e->message;
        });
        $send = function (Channel $own): string {
            $id = $this->id();
            (new Customer($id, $own))->notify(new OverScopewire);
            $this->assertSame(1, Scopewire::notifications()->unreadCount($id));

            return $this->waitFor(fn () => $this->events(self::CREATED)->firstWhere('channel', $own->name) !== null
                ? $own->name : $this->events(self::CREATED, "private-App.Models.User.$id")->first()?->channel);
        };
        $this->assertSame('private-customers.1', $send(new PrivateChannel('customers.1')));
        $this->assertSame([], $warnings);
        foreach ([new Channel('customers.1'), new EncryptedPrivateChannel('customers.1')] as $own) {
            $this->assertStringStartsWith('private-App.Models.User.', $send($own));
            $this->assertStringContainsString("the channel $own->name, which", (string) array_pop($warnings));
        }
    }

    #[TestDox('via database: Laravel stores the notification, and it is broadcast at once, with its id')]
    public function test_database(): void
    {
        config(['queue.default' => 'database']);
        $this->assertSame(2, Scopewire::notifications()->notifyMany([$this->ada, $this->grace], new OverDatabase));
        $row = DB::table('notifications')->where('notifiable_id', $this->ada->id)->sole();
        $event = $this->waitFor(fn () => $this->events(self::CREATED, $this->channel($this->ada))->first());
        $this->assertSame(['title' => 'Invoice', 'message' => 'Paid', 'number' => 7, 'id' => $row->id, 'type' => OverDatabase::class],
            json_decode($event->payload, true));
        $this->assertSame(0, DB::table('jobs')->count());
        $this->assertSame(0, Scopewire::notifications()->unreadCount($this->ada));
    }

    #[TestDox('via database: a page reads Laravel\'s own table, its user\'s alone, and marks as read')]
    public function test_inbox(): void
    {
        $this->getJson('/scopewire/notifications')->assertUnauthorized();
        foreach (range(1, 22) as $n) {
            Scopewire::notifications()->notify($this->ada, new OverDatabase);
        }
        Scopewire::notifications()->notify($this->grace, new OverDatabase);
        $this->actingAs($this->ada);
        $first = $this->getJson('/scopewire/notifications')->assertOk()->assertJsonPath('unread', 22)->assertJsonCount(20, 'notifications')
            ->assertJsonPath('notifications.0.title', 'Invoice')->assertJsonPath('notifications.0.message', 'Paid')
            ->assertJsonPath('notifications.0.data', ['number' => 7])->assertJsonPath('notifications.0.read_at', null);
        $this->assertMatchesRegularExpression('/^\d{4}-\d\d-\d\dT[\d:]+Z$/', $first->json('notifications.0.created_at'));
        $second = $this->getJson('/scopewire/notifications?cursor='.$first->json('next_cursor'))->assertJsonCount(2, 'notifications')
            ->assertJsonPath('next_cursor', null);
        $ids = array_column([...$first->json('notifications'), ...$second->json('notifications')], 'id');
        $this->assertCount(22, array_unique($ids));
        $this->postJson('/scopewire/notifications/read', [])->assertUnprocessable();
        $this->postJson('/scopewire/notifications/read', ['ids' => [$ids[0]]])->assertOk()->assertExactJson(['unread' => 21]);
        $this->assertNotContains($ids[0], $this->getJson('/scopewire/notifications?unread=true')->json('notifications.*.id'));
        $this->postJson('/scopewire/notifications/read', ['all' => true])->assertExactJson(['unread' => 0]);
        $this->assertNotNull($this->getJson('/scopewire/notifications')->json('notifications.0.read_at'));
        $this->actingAs($this->grace);
        $this->postJson('/scopewire/notifications/read', ['ids' => [$ids[1]]])->assertExactJson(['unread' => 1]);
    }

    #[TestDox('a notification for the queue is refused, with what to do')]
    public function test_queued(): void
    {
        $this->expectException(InvalidArgumentException::class);
        $this->expectExceptionMessageMatches('/ShouldQueue.*\$user->notify\(\)/');
        Scopewire::notifications()->notify($this->ada, new OverQueue);
    }
}

class Customer
{
    use Notifiable;

    public function __construct(private readonly int $id, private readonly Channel $own)
    {
    }

    public function routeNotificationForScopewire(): int
    {
        return $this->id;
    }

    public function receivesBroadcastNotificationsOn(): Channel
    {
        return $this->own;
    }
}

class OverScopewire extends Notification
{
    /** @return list<string> */
    public function via(object $notifiable): array
    {
        return ['scopewire'];
    }

    /** @return array<string, mixed> */
    public function toScopewire(object $notifiable): array
    {
        return ['title' => 'Paid', 'body' => 'Thanks', 'number' => 7];
    }
}

class OverDatabase extends Notification
{
    /** @return list<string> */
    public function via(object $notifiable): array
    {
        return ['database'];
    }

    /** @return array<string, mixed> */
    public function toArray(object $notifiable): array
    {
        return ['title' => 'Invoice', 'message' => 'Paid', 'number' => 7];
    }
}

class OverQueue extends OverDatabase implements ShouldQueue
{
}
