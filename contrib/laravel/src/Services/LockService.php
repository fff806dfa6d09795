<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Services;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Support\Collection;
use Scopewire\Laravel\Client;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Support\Resource;

/**
 * Edit locks: who may edit a resource, or one field of it, now.
 *
 * A lock is an array: resource_type, resource_id, field, user_id, name, token, ttl, acquired_at,
 * renewed_at, expires_at, requests.  A refusal, such as a lock that another user holds, is no
 * failure: it gives null or false.
 */
class LockService extends Service
{
    /** Throws; one for all calls, so that a daemon that cannot be reached is waited for once. */
    private ?Client $strict = null;

    /**
     * Acquires the lock, or extends the user's own.
     *
     * @param int $ttl in seconds
     * @param string|null $socketId the lock ends with this connection
     * @return array<string, mixed>|null null if another user holds it, or on failure
     */
    public function acquire(
        mixed $user,
        Model|string $type,
        int|string|null $id = null,
        ?string $field = null,
        int $ttl = 150,
        ?string $socketId = null,
    ): ?array {
        return $this->callLocks('locks', $type, $id, $field, [
            'user_id' => $this->users->id($user), 'ttl' => $ttl, 'socket_id' => $socketId,
        ])['lock'] ?? null;
    }

    /** False also if the user did not hold it, or on failure. */
    public function release(mixed $user, Model|string $type, int|string|null $id = null, ?string $field = null): bool
    {
        return (bool) ($this->callLocks('locks/release', $type, $id, $field, ['user_id' => $this->users->id($user)])['released'] ?? false);
    }

    /** Releases the lock, whichever user holds it. */
    public function forceRelease(Model|string $type, int|string|null $id = null, ?string $field = null): bool
    {
        return (bool) ($this->callLocks('locks/release', $type, $id, $field, ['force' => true])['released'] ?? false);
    }

    /**
     * Requests the lock from its holder, who has wait seconds to answer.
     *
     * @return array<string, mixed>|null the request; null if no user holds the lock, or on failure
     */
    public function request(mixed $user, Model|string $type, int|string|null $id = null, ?string $field = null, int $wait = 30): ?array
    {
        return $this->callLocks('locks/request', $type, $id, $field, ['user_id' => $this->users->id($user), 'wait' => $wait])['request'] ?? null;
    }

    /**
     * The holder gives the lock to a user who requested it.
     *
     * @return array<string, mixed>|null the new holder's lock; null if there is no such request, or on failure
     */
    public function grant(mixed $holder, mixed $to, Model|string $type, int|string|null $id = null, ?string $field = null): ?array
    {
        return $this->callLocks('locks/grant', $type, $id, $field, [
            'user_id' => $this->users->id($holder), 'to' => $this->users->id($to),
        ])['lock'] ?? null;
    }

    /** The holder keeps the lock; the user of the request receives the reason. */
    public function refuse(
        mixed $holder,
        mixed $to,
        Model|string $type,
        int|string|null $id = null,
        ?string $field = null,
        ?string $reason = null,
    ): bool {
        return (bool) ($this->callLocks('locks/refuse', $type, $id, $field, [
            'user_id' => $this->users->id($holder), 'to' => $this->users->id($to), 'reason' => $reason,
        ])['refused'] ?? false);
    }

    /**
     * Makes the user the holder, also if another user has the lock.
     *
     * @return array<string, mixed>|null null on failure
     */
    public function steal(mixed $user, Model|string $type, int|string|null $id = null, ?string $field = null, int $ttl = 150): ?array
    {
        return $this->callLocks('locks/steal', $type, $id, $field, ['user_id' => $this->users->id($user), 'ttl' => $ttl])['lock'] ?? null;
    }

    /** @return array<string, mixed>|null null if no user holds it, or on failure */
    public function getLock(Model|string $type, int|string|null $id = null, ?string $field = null): ?array
    {
        return $this->client->get('locks', array_filter(Resource::of($type, $id)->fields() + ['field' => $field],
            fn ($value) => $value !== null))['lock'] ?? null;
    }

    /**
     * All locks of a user.
     *
     * @return Collection<int, array<string, mixed>> empty on failure
     */
    public function getLocksOf(mixed $user): Collection
    {
        $found = [];
        $cursor = null;
        do {
            $page = $this->client->get('locks', array_filter([
                'user_id' => $this->users->id($user), 'limit' => 200, 'cursor' => $cursor,
            ], fn ($value) => $value !== null));
            array_push($found, ...array_values((array) ($page['locks'] ?? [])));
        } while ($cursor = $page['next_cursor'] ?? null);

        return new Collection($found);
    }

    /**
     * @param array<string, mixed> $body
     * @return array<string, mixed> empty if the daemon refused it
     */
    private function callLocks(string $path, Model|string $type, int|string|null $id, ?string $field, array $body): array
    {
        try {
            return ($this->strict ??= $this->client->throwing())->post($path, Resource::of($type, $id)->fields() + ['field' => $field] + $body);
        } catch (ScopewireException $e) {
            if (! in_array($e->error, ['locked', 'lock_lost', 'not_locked', 'unknown_request'], true)) {
                $this->client->fail($path, $e);
            }

            return [];
        }
    }
}
