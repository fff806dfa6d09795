<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel;

use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Contracts\Container\Container;
use Scopewire\Laravel\Services\ActivityFeedService;
use Scopewire\Laravel\Services\ChannelAuthorizationService;
use Scopewire\Laravel\Services\DataSyncService;
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

        return $this->client()->put('users/'.$users->id($user), [
            'name' => $users->name($user), 'avatar' => $users->avatar($user), 'roles' => $users->roles($user),
        ]) !== [];
    }
}
