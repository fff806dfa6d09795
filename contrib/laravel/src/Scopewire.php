<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel;

use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Contracts\Container\Container;
use Illuminate\Support\LazyCollection;
use Scopewire\Laravel\Services\ActivityFeedService;
use Scopewire\Laravel\Services\ChannelAuthorizationService;
use Scopewire\Laravel\Services\DataSyncService;
use Scopewire\Laravel\Services\LockService;
use Scopewire\Laravel\Services\PresenceService;
use Scopewire\Laravel\Services\RealtimeNotificationService;

/** What the facade Scopewire calls. */
class Scopewire
{
    public function __construct(private readonly Container $container)
    {
    }

    public function client(): Client
    {
        return $this->container->make(Client::class);
    }

    public function presence(): PresenceService
    {
        return $this->container->make(PresenceService::class);
    }

    public function activities(): ActivityFeedService
    {
        return $this->container->make(ActivityFeedService::class);
    }

    public function data(): DataSyncService
    {
        return $this->container->make(DataSyncService::class);
    }

    public function locks(): LockService
    {
        return $this->container->make(LockService::class);
    }

    public function channels(): ChannelAuthorizationService
    {
        return $this->container->make(ChannelAuthorizationService::class);
    }

    public function notifications(): RealtimeNotificationService
    {
        return $this->container->make(RealtimeNotificationService::class);
    }

    /**
     * Broadcasts without an event class, by the default connection.
     *
     * @param string|list<string> $channels as on the wire: private-client.7
     * @param array<string, mixed> $data
     */
    public function publish(string|array $channels, string $event, array $data = []): void
    {
        $this->container->make(BroadcastManager::class)->connection()->broadcast((array) $channels, $event, $data);
    }

    /**
     * A token for the user's browser.
     *
     * @param int|null $ttl in seconds
     */
    public function token(mixed $user, ?int $ttl = null): string
    {
        return $this->container->make(Support\Tokens::class)->issue($user, $ttl);
    }

    /** Stores name, avatar and roles of a user in the daemon. */
    public function saveUser(mixed $user): bool
    {
        $users = $this->container->make(Support\Users::class);

        return $this->client()->put('users/'.$users->id($user), $this->describe($users, $user)) !== [];
    }

    /**
     * The same for many users, 1,000 in a call.
     *
     * @param iterable<mixed> $users such as User::query()->lazy()
     * @return int how many the daemon stored
     */
    public function saveUsers(iterable $users): int
    {
        $known = $this->container->make(Support\Users::class);
        $stored = 0;
        foreach ((new LazyCollection(fn () => yield from $users))->chunk(1000) as $some) {
            $rows = [];
            foreach ($some as $user) {
                $rows[] = ['id' => $known->id($user)] + $this->describe($known, $user);
            }
            $stored += (int) ($this->client()->put('users', ['users' => $rows])['stored'] ?? 0);
        }

        return $stored;
    }

    /**
     * Deletes what the daemon stores about a user, and removes its id from activities.
     *
     * @return array<string, mixed> deleted and anonymized, each with how many; empty on failure
     */
    public function forgetUser(mixed $user): array
    {
        return $this->client()->post('users/'.$this->container->make(Support\Users::class)->id($user).'/delete');
    }

    /** @return array{name: ?string, avatar: ?string, roles: list<string>} */
    private function describe(Support\Users $users, mixed $user): array
    {
        return ['name' => $users->name($user), 'avatar' => $users->avatar($user), 'roles' => $users->roles($user)];
    }
}
