<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Services;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Support\Carbon;
use Illuminate\Support\Collection;
use Scopewire\Laravel\Support\Resource;

/** Which users are online, where they are, and what they look at. */
class PresenceService extends Service
{
    private const PAGE = 200;

    /** Resources in one call. */
    private const RESOURCES = 100;

    /**
     * A heartbeat.  The user is online until the ttl of the answer has passed without another one.
     *
     * @param array<string, mixed>|null $info data of the application's own; null: unchanged
     * @param string|null $socketId the tab's connection: when it has ended, the user is offline
     * @param bool $keepSockets without a socketId: the connections of earlier heartbeats end it, as before
     * @return array<string, mixed> user_id, status, last_seen_at, ttl, unread_count; empty on failure
     */
    public function setOnline(
        mixed $user,
        ?string $location = null,
        ?array $info = null,
        ?string $socketId = null,
        bool $keepSockets = false,
    ): array {
        return $this->setStatus($user, 'online', $location, $info, $socketId, $keepSockets);
    }

    /** @return array<string, mixed> as setOnline() */
    public function setOffline(mixed $user): array
    {
        return $this->setStatus($user, 'offline');
    }

    /**
     * @param string $status online, away, busy or offline
     * @param array<string, mixed>|null $info
     * @return array<string, mixed> as setOnline()
     */
    public function setStatus(
        mixed $user,
        string $status,
        ?string $location = null,
        ?array $info = null,
        ?string $socketId = null,
        bool $keepSockets = false,
    ): array {
        return $this->client->post('heartbeat', [
            'user_id' => $this->users->id($user), 'status' => $status, 'location' => $location,
            'info' => $this->object($info), 'socket_id' => $socketId,
            'keep_sockets' => $keepSockets ?: null,
        ]);
    }

    /** Whether the user is online, away or busy; false on failure. */
    public function isOnline(mixed $userId): bool
    {
        return $this->find($userId, [null]) !== null;
    }

    /** When the user was last seen; null if it never was, or on failure. */
    public function lastSeen(mixed $userId): ?Carbon
    {
        $at = $this->find($userId, [null, 'offline'])['last_seen_at'] ?? null;

        return $at === null ? null : Carbon::parse($at);
    }

    /**
     * Users that are not offline, ordered by id: user_id, name, avatar, status, location, info,
     * last_seen_at.
     *
     * @return Collection<int, array<string, mixed>> empty on failure
     */
    public function getOnlineUsers(?string $location = null, ?string $status = null, int $limit = 1000): Collection
    {
        $users = new Collection;
        foreach ($this->pages(['location' => $location, 'status' => $status, 'limit' => min($limit, self::PAGE)]) as $page) {
            $users = $users->concat($page);
            if ($users->count() >= $limit) {
                break;
            }
        }

        return $users->take($limit)->values();
    }

    /** How many users are not offline; 0 on failure. */
    public function countOnlineUsers(?string $location = null): int
    {
        return (int) ($this->client->get('online-users', ['location' => $location, 'limit' => 1])['count'] ?? 0);
    }

    /**
     * The user views, or edits, a resource.  Repeat the call before the ttl of the answer expires.
     *
     * @param string $mode viewing or editing
     * @param string|null $socketId the tab's connection; its end ends the viewing
     * @return array<string, mixed> the viewers and the ttl; empty on failure
     */
    public function setViewingResource(
        mixed $user,
        Model|string $type,
        int|string|null $id = null,
        string $mode = 'viewing',
        ?string $socketId = null,
        ?int $ttl = null,
    ): array {
        return $this->client->post('start-viewing', Resource::of($type, $id)->fields() + [
            'user_id' => $this->users->id($user), 'mode' => $mode, 'socket_id' => $socketId, 'ttl' => $ttl,
        ]);
    }

    /** False also if the user did not view the resource, or on failure. */
    public function stopViewing(mixed $user, Model|string $type, int|string|null $id = null, ?string $socketId = null): bool
    {
        $answer = $this->client->post('stop-viewing', Resource::of($type, $id)->fields() + [
            'user_id' => $this->users->id($user), 'socket_id' => $socketId,
        ]);

        return (bool) ($answer['stopped'] ?? false);
    }

    /**
     * The viewers of a resource, the earliest first: user_id, name, avatar, mode, tabs, since,
     * expires_at.  For a list of ids, a list of viewers for each id.
     *
     * @param int|string|list<int|string>|null $id
     * @return ($id is array ? Collection<int|string, Collection<int, array<string, mixed>>> : Collection<int, array<string, mixed>>)
     */
    public function getUsersViewingResource(Model|string $type, int|string|array|null $id = null): Collection
    {
        if (is_array($id)) {
            return $this->viewersOfSeveral($type, $id);
        }
        $found = [];
        $cursor = null;
        do {
            $page = $this->client->get('viewers', Resource::of($type, $id)->fields() + ['limit' => self::PAGE]
                + ($cursor === null ? [] : ['cursor' => $cursor]));
            array_push($found, ...array_values((array) ($page['viewers'] ?? [])));
        } while ($cursor = $page['next_cursor'] ?? null);

        return new Collection($found);
    }

    /**
     * What a user views, the earliest first: resource_type, resource_id, mode, tabs, since, expires_at.
     *
     * @return Collection<int, array<string, mixed>> empty on failure
     */
    public function getResourcesViewedBy(mixed $user): Collection
    {
        return new Collection($this->client->get('viewers', ['user_id' => $this->users->id($user)])['viewing'] ?? []);
    }

    /**
     * @param list<int|string> $ids
     * @return Collection<int|string, Collection<int, array<string, mixed>>>
     */
    private function viewersOfSeveral(Model|string $type, array $ids): Collection
    {
        $found = [];
        foreach (array_chunk(array_values($ids), self::RESOURCES) as $some) {
            $names = array_map(fn ($id): string => (string) Resource::of($type, $id), $some);
            $answer = $this->client->get('viewers', ['resources' => implode(',', $names), 'limit' => self::PAGE]);
            foreach ($some as $at => $id) {
                /** @var list<array<string, mixed>> $viewers */
                $viewers = $answer['resources'][$at]['viewers'] ?? [];
                $found[$id] = new Collection($viewers);
            }
        }

        return new Collection($found);
    }

    /**
     * @param list<string|null> $statuses
     * @return array<string, mixed>|null
     */
    private function find(mixed $user, array $statuses): ?array
    {
        $id = $this->users->id($user);
        foreach ($statuses as $status) {
            $row = $this->client->get('online-users', ['status' => $status, 'user_ids' => $id])['users'][0] ?? null;
            if ($row !== null) {
                return $row;
            }
        }

        return null;
    }

    /**
     * @param array<string, mixed> $query
     * @return iterable<list<array<string, mixed>>>
     */
    private function pages(array $query): iterable
    {
        do {
            $answer = $this->client->get('online-users', $query);
            yield $answer['users'] ?? [];
            $query['cursor'] = $answer['next_cursor'] ?? null;
        } while ($query['cursor'] !== null);
    }
}
