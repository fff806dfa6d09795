<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Services;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Support\Collection;
use Scopewire\Laravel\Client;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Support\Database;
use Scopewire\Laravel\Support\Users;

/** What happened, who did it, and to what. */
class ActivityFeedService extends Service
{
    public function __construct(Client $client, Users $users, private readonly Database $database)
    {
        parent::__construct($client, $users);
    }

    /**
     * Stores an activity and broadcasts it as ActivityFeedUpdated.  In a transaction of the daemon's
     * database it is written through that transaction, and the result has its id alone.
     *
     * @param mixed $user who did it: a model or an id
     * @param string|Model|null $subjectType what it was done to: a model, or its type, such as App\Models\Invoice
     * @param array<string, mixed> $metadata client_id and project_id put it into those feeds
     * @param string|null $socketId a connection that does not receive the event
     * @return array<string, mixed> the activity; empty on failure
     */
    public function addActivity(
        string $type,
        ?string $description = null,
        mixed $user = null,
        string|Model|null $subjectType = null,
        int|string|null $subjectId = null,
        array $metadata = [],
        ?string $socketId = null,
    ): array {
        if ($subjectType instanceof Model) {
            $subjectId ??= $subjectType->getKey();
            $subjectType = $subjectType->getMorphClass();
        }
        $userId = $user === null ? null : $this->users->id($user);
        if ($transaction = $this->database->transaction()) {
            try {
                return ['id' => $transaction->addActivity($type, $description, $userId, $subjectType,
                    $subjectId === null ? null : (string) $subjectId, $metadata, $socketId)];
            } catch (ScopewireException $e) {
                return $this->client->fail('add activity', $e);
            }
        }

        return $this->client->post('activities', [
            'type' => $type, 'description' => $description, 'user_id' => $userId,
            'subject_type' => $subjectType, 'subject_id' => $subjectId,
            'metadata' => $this->object($metadata), 'socket_id' => $socketId,
        ])['activity'] ?? [];
    }

    /** @return Collection<int, array<string, mixed>> the newest first; empty on failure */
    public function getGlobalFeed(int $limit = 50): Collection
    {
        return $this->list(['feed' => 'global'], $limit);
    }

    /** @return Collection<int, array<string, mixed>> */
    public function getClientFeed(int|string $clientId, int $limit = 50): Collection
    {
        return $this->list(['feed' => 'client', 'client_id' => $clientId], $limit);
    }

    /** @return Collection<int, array<string, mixed>> */
    public function getProjectFeed(int|string $projectId, int $limit = 50): Collection
    {
        return $this->list(['feed' => 'project', 'project_id' => $projectId], $limit);
    }

    /**
     * What the user did.
     *
     * @return Collection<int, array<string, mixed>>
     */
    public function getFeedFor(mixed $user, int $limit = 50): Collection
    {
        return $this->list(['feed' => 'user', 'user_id' => $this->users->id($user)], $limit);
    }

    /** @return Collection<int, array<string, mixed>> */
    public function getSubjectFeed(string|Model $subjectType, int|string|null $subjectId = null, int $limit = 50): Collection
    {
        if ($subjectType instanceof Model) {
            $subjectId ??= $subjectType->getKey();
            $subjectType = $subjectType->getMorphClass();
        }

        return $this->list(['feed' => 'subject', 'subject_type' => $subjectType, 'subject_id' => $subjectId], $limit);
    }

    /**
     * One page with its cursors, as GET /api/sync/activities answers.
     *
     * @param array<string, mixed> $query feed and its fields, filters, limit, cursor, reader_id
     * @return array<string, mixed> empty on failure
     */
    public function page(array $query): array
    {
        return $this->client->get('activities', $query);
    }

    /**
     * How many activities of a feed the user has not read; 0 on failure.
     *
     * @param array<string, mixed> $feed such as ['feed' => 'client', 'client_id' => 7]
     */
    public function unread(mixed $user, array $feed = ['feed' => 'global']): int
    {
        return (int) ($this->page($feed + ['reader_id' => $this->users->id($user), 'limit' => 1])['unread'] ?? 0);
    }

    /**
     * The user has read a feed up to an activity, by default up to the newest.
     *
     * @param array<string, mixed> $feed
     * @return int how many are unread now; 0 on failure
     */
    public function markRead(mixed $user, array $feed = ['feed' => 'global'], ?int $upTo = null): int
    {
        $answer = $this->client->post('activities/read', $feed + [
            'reader_id' => $this->users->id($user), 'up_to' => $upTo,
        ]);

        return (int) ($answer['unread'] ?? 0);
    }

    /**
     * @param array<string, mixed> $query
     * @return Collection<int, array<string, mixed>>
     */
    private function list(array $query, int $limit): Collection
    {
        $found = new Collection;
        do {
            $page = $this->page($query + ['limit' => min(200, max(1, $limit - $found->count()))]);
            $found = $found->concat($page['activities'] ?? []);
            $query['cursor'] = $page['next_cursor'] ?? null;
        } while ($query['cursor'] !== null && $found->count() < $limit);

        return $found->take($limit)->values();
    }
}
