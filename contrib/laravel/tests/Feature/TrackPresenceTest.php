<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Illuminate\Contracts\Http\Kernel;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\Route;
use PHPUnit\Framework\Attributes\TestDox;
use RuntimeException;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Http\Middleware\TrackPresence;
use Scopewire\Laravel\Testing\Daemon;
use Scopewire\Laravel\Tests\TestCase;
use Scopewire\Laravel\Tests\WebSocket;

class TrackPresenceTest extends TestCase
{
    protected function setUp(): void
    {
        parent::setUp();
        Route::middleware(['web', TrackPresence::class])->get('/named', fn () => 'page')->name('projects.index');
        Route::middleware(['web', TrackPresence::class.':Projects'])->get('/given', fn () => 'page');
        Route::middleware(['web', TrackPresence::class])->get('/plain', fn () => 'page');
    }

    private function location(int $id): ?string
    {
        return Scopewire::presence()->getOnlineUsers()->firstWhere('user_id', $id)['location'] ?? null;
    }

    #[TestDox('a page makes its user online, at its route or at the given location')]
    public function test_location(): void
    {
        foreach (['/named' => 'projects.index', '/given' => 'Projects', '/plain' => '/plain'] as $page => $location) {
            $user = $this->user($this->id());
            $this->actingAs($user)->get($page)->assertOk();
            $this->assertSame($location, $this->location($user->id));
        }
        Auth::logout();
        $this->get('/plain')->assertOk();
    }

    #[TestDox('a user has one heartbeat in an interval')]
    public function test_interval(): void
    {
        $user = $this->user($this->id());
        $this->actingAs($user)->get('/named')->assertOk();
        $this->actingAs($user)->get('/plain')->assertOk();
        $this->assertSame('projects.index', $this->location($user->id));
        $this->travel(31)->seconds();
        $this->actingAs($user)->get('/plain')->assertOk();
        $this->assertSame('/plain', $this->location($user->id));
    }

    #[TestDox('a request with the id of a socket ties the presence to it, unless it has closed')]
    public function test_socket(): void
    {
        $sockets = fn (int $id): array => $this->rows(
            'SELECT sockets::text AS sockets FROM scopewire.user_presence WHERE user_id = ?', [$id])->pluck('sockets')->all();
        $user = $this->user($this->id());
        $this->actingAs($user)->get('/plain', ['X-Socket-ID' => '1.2'])->assertOk();
        $this->assertSame(['{}'], $sockets($user->id));
        $other = $this->user($this->id());
        $this->actingAs($other)->get('/plain', ['X-Socket-ID' => "x'; "])->assertOk();
        $this->assertSame(['{}'], $sockets($other->id));
        $third = $this->user($this->id());
        $socket = new WebSocket(self::$daemon->port(), Daemon::KEY);
        $this->actingAs($third)->get('/plain', ['X-Socket-ID' => $socket->socketId])->assertOk();
        $this->assertSame(['{'.$socket->socketId.'}'], $sockets($third->id));
    }

    #[TestDox('the heartbeat is sent after the response')]
    public function test_after(): void
    {
        $user = $this->user($this->id());
        Auth::login($user);
        $kernel = $this->app->make(Kernel::class);
        $response = $kernel->handle($request = Request::create('/plain'));
        $this->assertSame('page', $response->getContent());
        $this->assertNull($this->location($user->id));
        $kernel->terminate($request, $response);
        $this->assertSame('/plain', $this->location($user->id));
    }

    #[TestDox('when the daemon is unreachable the page works, and the next pages do not try')]
    public function test_unreachable(): void
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $port = (int) substr(strrchr(stream_socket_get_name($socket, false), ':'), 1);
        fclose($socket);
        config(['scopewire.port' => $port]);
        foreach ([1, 2, 3] as $n) {
            $this->actingAs($this->user($this->id()))->get('/plain')->assertOk();
        }
        $this->assertSame(1, substr_count($this->log(), 'Scopewire:'), $this->log());
    }

    #[TestDox('when the cache or the user is broken the page works')]
    public function test_broken(): void
    {
        $this->app->bind(\Illuminate\Contracts\Cache\Repository::class, fn () => new class(new \Illuminate\Cache\ArrayStore) extends \Illuminate\Cache\Repository
        {
            public function has($key): bool
            {
                throw new RuntimeException('the cache is away');
            }
        });
        $this->actingAs($this->user($this->id()))->get('/plain')->assertOk()->assertSee('page');
        $this->assertStringContainsString('the cache is away', $this->log());
    }
}
