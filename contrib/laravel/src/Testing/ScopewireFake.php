<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Testing;

use Closure;
use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Contracts\Config\Repository;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Database\DatabaseTransactionsManager;
use Illuminate\Http\Client\Factory;
use Illuminate\Support\Arr;
use PHPUnit\Framework\Assert;
use Psr\Log\LoggerInterface;
use Scopewire\Laravel\Client;
use Scopewire\Laravel\Scopewire;
use Scopewire\Laravel\Support\Database;
use Scopewire\Laravel\Support\EventKeys;
use Scopewire\Laravel\Support\Settings;
use Scopewire\Laravel\Support\Users;

/**
 * No daemon is needed.  Events are recorded as they would be delivered: those of a transaction when
 * it commits.
 */
final class ScopewireFake extends Scopewire
{
    /** @var list<array{event: string, channels: list<string>, data: array<string, mixed>, socket: ?string}> */
    private array $published = [];

    private readonly FakeClient $fake;

    public function __construct(private readonly Application $app)
    {
        parent::__construct($app);
        $config = $app->make(Repository::class);
        $config->set('scopewire.database.connections', '');
        $this->fake = new FakeClient(Settings::of($config), $app->make(Factory::class), $app->make(LoggerInterface::class));
        $app->instance(Client::class, $this->fake);
        $this->replaceBroadcaster($app->make(BroadcastManager::class), $config);
    }

    /**
     * An event was published.
     *
     * @param string $event a class, or the name of broadcastAs()
     * @param string|(Closure(array<string, mixed>, list<string>): bool)|null $that a channel as on the wire; or a
     *                                                                              test of data and channels
     */
    public function assertPublished(string $event, string|Closure|null $that = null, ?int $times = null): void
    {
        $count = count($this->published($event, $that));
        $what = "$event".(is_string($that) ? " on $that" : '');
        if ($times === null) {
            Assert::assertGreaterThan(0, $count, "$what was not published.".$this->list());
        } else {
            Assert::assertSame($times, $count, "$what was published $count times.".$this->list());
        }
    }

    /** @param  string|(Closure(array<string, mixed>, list<string>): bool)|null  $that */
    public function assertNotPublished(string $event, string|Closure|null $that = null): void
    {
        Assert::assertSame([], $this->published($event, $that), "$event was published.");
    }

    public function assertNothingPublished(): void
    {
        Assert::assertSame([], $this->published, 'Events were published.'.$this->list());
    }

    /**
     * The user was sent a message that the daemon stores.
     *
     * @param string|(Closure(array<string, mixed>): bool)|null $that its title, or a test of title, message, type, data
     */
    public function assertNotified(mixed $user, string|Closure|null $that = null): void
    {
        Assert::assertNotSame([], $this->notified($user, $that), 'The user was not notified.');
    }

    /** @param  string|(Closure(array<string, mixed>): bool)|null  $that */
    public function assertNotNotified(mixed $user, string|Closure|null $that = null): void
    {
        Assert::assertSame([], $this->notified($user, $that), 'The user was notified.');
    }

    /**
     * Calls of the sync API, such as calls('POST', 'activities').
     *
     * @return list<array<string, mixed>> their bodies, or the queries of a GET
     */
    public function calls(string $method, string $path): array
    {
        $found = array_filter($this->fake->calls, fn ($call) => $call['method'] === $method && $call['path'] === $path);

        return array_values(array_map(fn ($call) => $method === 'GET' ? $call['query'] : $call['body'], $found));
    }

    /**
     * @param string|(Closure(array<string, mixed>, list<string>): bool)|null $that
     * @return list<array<string, mixed>>
     */
    public function published(string $event, string|Closure|null $that = null): array
    {
        return array_values(array_filter($this->published, fn ($one) => $one['event'] === $event && match (true) {
            $that === null => true,
            is_string($that) => in_array($that, $one['channels'], true),
            default => $that($one['data'], $one['channels']),
        }));
    }

    /**
     * @param string|(Closure(array<string, mixed>): bool)|null $that
     * @return list<array<string, mixed>>
     */
    private function notified(mixed $user, string|Closure|null $that): array
    {
        $id = $this->app->make(Users::class)->id($user);

        return array_values(array_filter($this->calls('POST', 'notifications'), fn ($body) => array_intersect([(string) $id, "user:$id"], array_map(strval(...), Arr::wrap($body['to'] ?? $body['recipient_id'] ?? [])))
            && match (true) {
                $that === null => true,
                is_string($that) => ($body['title'] ?? null) === $that,
                default => $that(['data' => (array) ($body['data'] ?? [])] + $body),
            }));
    }

    private function replaceBroadcaster(BroadcastManager $manager, Repository $config): void
    {
        $config->set('broadcasting.default', 'scopewire');
        $fake = fn (): FakeBroadcaster => new FakeBroadcaster(
            $manager->pusher(['key' => 'fake', 'secret' => 'fake', 'app_id' => 'fake']), $this->app->make(Database::class), new EventKeys);
        $broadcaster = $fake();
        $broadcaster->record = function (array $event): void {
            $transactions = $this->app->make('db.transactions');
            assert($transactions instanceof DatabaseTransactionsManager);
            $transactions->addCallback(function () use ($event): void {
                $this->published[] = $event;
            });
        };
        foreach ($manager->connection('scopewire')->getChannels() as $pattern => $callback) {
            $broadcaster->channel($pattern, $callback);
        }
        $manager->extend('scopewire', fn () => $broadcaster);
        $manager->purge('scopewire');
    }

    private function list(): string
    {
        $lines = array_map(fn ($one) => "\n  {$one['event']} on ".implode(', ', $one['channels']), $this->published);

        return $lines === [] ? ' Nothing was.' : ' Published were:'.implode('', $lines);
    }
}
