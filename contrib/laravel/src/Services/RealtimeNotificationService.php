<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Services;

use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Contracts\Notifications\Dispatcher;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Notifications\AnonymousNotifiable;
use Illuminate\Notifications\Events\BroadcastNotificationCreated;
use Illuminate\Notifications\Notification;
use Illuminate\Support\Arr;
use Illuminate\Support\Collection;
use Illuminate\Support\Str;
use InvalidArgumentException;
use Scopewire\Laravel\Client;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Support\Database;
use Scopewire\Laravel\Support\Users;

/**
 * Messages that reach users at once and stay in their inbox.
 *
 * A message is an array with title and message (or body), and optionally type and data; or a
 * notification of Laravel.  An array may have a channel, where {id} is the user's id, in place of the
 * user's own: private-App.Models.Customer.{id}.  An array is stored by the daemon.  A notification goes where its via()
 * sends it: with "scopewire" the daemon stores it; with "database" Laravel does, and this service
 * broadcasts it at once.
 */
class RealtimeNotificationService extends Service
{
    public function __construct(
        Client $client,
        Users $users,
        private readonly Database $database,
        private readonly Dispatcher $notifications,
        private readonly BroadcastManager $broadcasts,
    ) {
        parent::__construct($client, $users);
    }

    /**
     * @param Notification|array<string, mixed> $notification
     * @return int how many users it was sent to; 0 on failure
     */
    public function notify(mixed $user, Notification|array $notification): int
    {
        return $this->notifyMany([$user], $notification);
    }

    /**
     * @param iterable<mixed> $users models; ids are enough for an array
     * @param Notification|array<string, mixed> $notification
     * @return int how many users it was sent to; 0 on failure
     */
    public function notifyMany(iterable $users, Notification|array $notification): int
    {
        $users = (new Collection($users))->values();
        if ($users->isEmpty()) {
            return 0;
        }
        if ($notification instanceof Notification) {
            return $this->notifyByLaravel($users, $notification);
        }

        return $this->send($users->map($this->users->id(...))->unique()->values()->all(), $notification);
    }

    /**
     * A workflow's configuration, in either format: recipient_type, recipient_role or recipient_id,
     * title, message; or to, title, body.  Both take type, data, channel and allow_empty.  A role that no
     * user has is a failure, which names it, unless allow_empty is true.
     *
     * @param array<string, mixed> $configuration
     * @param array<string, mixed> $data added to its data
     * @return int how many users it was sent to; 0 on failure
     */
    public function notifyWorkflow(array $configuration, array $data = []): int
    {
        $known = ['to', 'recipient_type', 'recipient_id', 'recipient_role', 'title', 'message', 'body', 'type', 'data',
            'channel', 'allow_empty'];
        if ($unknown = array_diff(array_keys($configuration), $known)) {
            throw new InvalidArgumentException('A workflow\'s notification has no field "'.implode('", "', $unknown)
                .'"; it has '.implode(', ', $known).'.');
        }
        $data += (array) ($configuration['data'] ?? []);
        $fields = array_intersect_key($configuration, array_flip($known));

        return (int) ($this->client->post('notifications', ['data' => $data === [] ? null : (object) $data] + $fields)['recipients'] ?? 0);
    }

    /**
     * The users' inbox, the newest first: id, type, title, message, data, read_at, created_at.
     *
     * @return Collection<int, array<string, mixed>> empty on failure
     */
    public function getNotifications(mixed $user, int $limit = 50, bool $unreadOnly = false): Collection
    {
        return new Collection($this->client->get('notifications', [
            'user_id' => $this->users->id($user), 'limit' => $limit, 'unread' => $unreadOnly ? 'true' : null,
        ])['notifications'] ?? []);
    }

    /** 0 on failure. */
    public function unreadCount(mixed $user): int
    {
        return (int) ($this->client->get('notifications', ['user_id' => $this->users->id($user), 'limit' => 1])['unread'] ?? 0);
    }

    /**
     * @param list<string>|null $ids null: all
     * @return int how many were unread before; 0 on failure
     */
    public function markRead(mixed $user, ?array $ids = null): int
    {
        $which = $ids === null ? ['all' => true] : ['ids' => $ids];

        return (int) ($this->client->post('notifications/read', $which + ['user_id' => $this->users->id($user)])['read'] ?? 0);
    }

    /**
     * Stores and broadcasts a message; in a transaction of the daemon's database through it.
     *
     * @param list<int|string> $ids
     * @param array<string, mixed> $message
     */
    public function send(array $ids, array $message): int
    {
        $title = (string) ($message['title'] ?? '');
        $text = $message['message'] ?? $message['body'] ?? null;
        $data = (array) ($message['data'] ?? []);
        if ($transaction = $this->database->transaction()) {
            try {
                return count($transaction->notify($ids, $title, $text, $message['type'] ?? null, $data, $message['channel'] ?? null));
            } catch (ScopewireException $e) {
                $this->client->fail('notify', $e);

                return 0;
            }
        }

        return (int) ($this->client->post('notifications', [
            // A text alone is a role.
            'to' => array_map(fn (int|string $id) => is_int($id) ? $id : "user:$id", $ids), 'title' => $title, 'message' => $text, 'type' => $message['type'] ?? null,
            'data' => $this->object($data), 'channel' => $message['channel'] ?? null,
        ])['recipients'] ?? 0);
    }

    /** @param  Collection<int, mixed>  $users */
    private function notifyByLaravel(Collection $users, Notification $notification): int
    {
        if ($notification instanceof ShouldQueue) {
            throw new InvalidArgumentException($notification::class.' implements ShouldQueue, but '.self::class
                .' sends at once. Remove ShouldQueue from the notification, or send it with $user->notify(), '
                .'by way of the queue.');
        }
        $sent = 0;
        foreach ($users as $user) {
            if (! is_object($user)) {
                throw new InvalidArgumentException('A notification of Laravel is sent to models; this is '
                    .get_debug_type($user).'.');
            }
            $sent += $this->notifyOne($user, $notification) ? 1 : 0;
        }

        return $sent;
    }

    private function notifyOne(object $user, Notification $notification): bool
    {
        $one = clone $notification;
        $one->id ??= (string) Str::uuid();
        $via = method_exists($one, 'via') ? Arr::wrap($one->via($user)) : [];
        try {
            $this->notifications->sendNow($user, $one);
            if (in_array('database', $via, true) && ! in_array('broadcast', $via, true)
                && ! $user instanceof AnonymousNotifiable) {
                $this->broadcast($user, $one);
            }
        } catch (ScopewireException|\Illuminate\Broadcasting\BroadcastException $e) {
            $this->client->fail('notify', $e instanceof ScopewireException ? $e
                : new ScopewireException($e->getMessage(), 0, 'broadcast', null, $e));

            return false;
        }

        return true;
    }

    /** What the channel "broadcast" sends, without a queue. */
    private function broadcast(object $user, Notification $notification): void
    {
        $data = match (true) {
            method_exists($notification, 'toBroadcast') => $notification->toBroadcast($user),
            method_exists($notification, 'toDatabase') => $notification->toDatabase($user),
            method_exists($notification, 'toArray') => $notification->toArray($user),
            default => [],
        };
        $event = new BroadcastNotificationCreated($user, $notification, is_array($data) ? $data : (array) $data->data);
        $this->broadcasts->connection()->broadcast($event->broadcastOn(),
            $event->broadcastAs(), $event->broadcastWith());
    }
}
