<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Illuminate\Support\Facades\Http;
use PHPUnit\Framework\Attributes\TestDox;
use PHPUnit\Framework\Attributes\TestWith;
use Scopewire\Laravel\Client;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Tests\TestCase;

class ClientTest extends TestCase
{
    #[TestDox('calls are accepted with key and secret, and signed')]
    #[TestWith(['basic'])]
    #[TestWith(['signed'])]
    public function test_authentication(string $kind): void
    {
        config(['scopewire.auth' => $kind, 'scopewire.throw' => true]);
        $user = $this->user($this->id(), 'Grüße & more');
        $user->roles = ['admin'];
        $this->assertTrue(Scopewire::saveUser($user));
        $this->assertSame('Grüße & more', Scopewire::client()->get("users/$user->id")['user']['name']);
        $location = 'a b=c '.$kind;
        Scopewire::presence()->setOnline($user, $location);
        $this->assertCount(1, Scopewire::presence()->getOnlineUsers($location));
    }

    #[TestDox('users are saved many at a time, and forgotten')]
    public function test_users(): void
    {
        config(['scopewire.throw' => true]);
        $users = collect(range(1, 1001))->map(fn (int $n) => $this->user($this->id(), "User $n"));
        $this->assertSame(1001, Scopewire::saveUsers($users));
        $last = $users->last();
        $this->assertSame('User 1001', Scopewire::client()->get("users/$last->id")['user']['name']);
        Scopewire::presence()->setOnline($last);
        $this->assertTrue(Scopewire::presence()->isOnline($last));
        $deleted = Scopewire::forgetUser($last)['deleted'];
        $this->assertSame([1, 1], [$deleted['user'], $deleted['presence']]);
        $this->assertFalse(Scopewire::presence()->isOnline($last));
        $this->assertSame(0, Scopewire::saveUsers([]));
    }

    #[TestDox('a refused call is logged once and returns nothing; with throw it throws')]
    public function test_refused(): void
    {
        $this->assertSame([], Scopewire::presence()->setStatus(7, 'asleep'));
        $this->assertSame([], Scopewire::presence()->setStatus(7, 'asleep'));
        $this->assertSame(1, substr_count($this->log(), 'invalid_value'), $this->log());
        $this->assertStringContainsString('POST heartbeat: 400 invalid_value', $this->log());
        try {
            Scopewire::presence()->throw()->setStatus(7, 'asleep');
            $this->fail('it did not throw');
        } catch (ScopewireException $e) {
            $this->assertSame([400, 'invalid_value', 'status'], [$e->status, $e->error, $e->field]);
        }
    }

    #[TestDox('a wrong secret is logged without the secret')]
    public function test_secret(): void
    {
        config(['scopewire.secret' => 'not-the-secret']);
        $this->assertSame([], Scopewire::presence()->setOnline(7));
        $this->assertStringContainsString('401', $this->log());
        $this->assertStringNotContainsString('not-the-secret', $this->log());
    }

    #[TestDox('when the daemon is unreachable, every service returns its empty result, and one line is logged')]
    public function test_unreachable(): void
    {
        config(['scopewire.port' => $this->closedPort()]);
        $this->assertSame([], Scopewire::presence()->setOnline(7));
        $this->assertFalse(Scopewire::presence()->isOnline(7));
        $this->assertNull(Scopewire::presence()->lastSeen(7));
        $this->assertCount(0, Scopewire::presence()->getOnlineUsers());
        $this->assertCount(0, Scopewire::presence()->getUsersViewingResource('invoice', 1));
        $this->assertSame([], Scopewire::activities()->addActivity('x'));
        $this->assertCount(0, Scopewire::activities()->getGlobalFeed());
        $this->assertSame(0, Scopewire::activities()->unread(7));
        $this->assertSame(0, Scopewire::notifications()->notify(7, ['title' => 'x']));
        $this->assertSame(0, Scopewire::notifications()->unreadCount(7));
        $this->assertSame([], Scopewire::data()->changesSince());
        $this->assertCount(0, Scopewire::data()->versions(['note:1']));
        $this->assertSame(1, substr_count($this->log(), 'Scopewire:'), $this->log());
        $this->expectException(ScopewireException::class);
        Scopewire::presence()->throw()->setOnline(7);
    }

    #[TestDox('a daemon that does not answer costs one timeout for all calls of a request')]
    public function test_timeout(): void
    {
        $silent = stream_socket_server('tcp://127.0.0.1:0');
        config(['scopewire.port' => (int) substr(strrchr(stream_socket_get_name($silent, false), ':'), 1),
            'scopewire.timeout' => 0.2]);
        $this->assertSame([], Scopewire::presence()->setOnline(7));
        fclose($silent);
        $before = Scopewire::client();
        $this->assertSame([], Scopewire::presence()->setOnline(7));
        $this->assertSame($before, app(Client::class), 'one client for a request');
        $this->assertStringContainsString('timed out', $this->log());
        $this->app->forgetScopedInstances();
        $this->assertNotSame($before, app(Client::class), 'another client for the next');
    }

    #[TestDox('a timeout that is not greater than 0 is replaced by the default, and reported')]
    #[TestWith([0.0])]
    #[TestWith([-1])]
    #[TestWith([''])]
    #[TestWith(['soon'])]
    #[TestWith([INF])]
    public function test_no_timeout(mixed $timeout): void
    {
        config(['scopewire.timeout' => $timeout, 'scopewire.connect_timeout' => $timeout]);
        $settings = Scopewire::client()->settings();
        $this->assertSame([3.0, 1.0], [$settings->timeout, $settings->connectTimeout]);
        $limits = [];
        Http::globalMiddleware(function (callable $next) use (&$limits): callable {
            return function ($request, array $options) use ($next, &$limits) {
                $limits[] = [$options['timeout'], $options['connect_timeout']];

                return $next($request, $options);
            };
        });
        Scopewire::presence()->isOnline(7);
        Scopewire::presence()->isOnline(7);
        $this->assertSame([[3.0, 1.0], [3.0, 1.0]], $limits);
        $this->assertSame(1, substr_count($this->log(), 'scopewire.timeout must be a number of seconds greater than 0'), $this->log());
        [, $output] = $this->command('scopewire:check');
        $this->assertStringContainsString('scopewire.timeout must be', $output);
        $this->assertStringContainsString('Set SCOPEWIRE_TIMEOUT', $output);
    }

    private function closedPort(): int
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $port = (int) substr(strrchr(stream_socket_get_name($socket, false), ':'), 1);
        fclose($socket);

        return $port;
    }
}
