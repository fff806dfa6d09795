<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Illuminate\Contracts\Http\Kernel;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\Cache;
use Illuminate\Support\Facades\Http;
use Illuminate\Support\Facades\Route;
use PHPUnit\Framework\Attributes\TestDox;
use RuntimeException;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Http\Middleware\TrackPresence;
use Scopewire\Laravel\Testing\Daemon;
use Scopewire\Laravel\Tests\Fpm;
use Scopewire\Laravel\Tests\TestCase;
use Scopewire\Laravel\Tests\WebSocket;

class TrackPresenceTest extends TestCase
{
    /** A heartbeat outlasts the test's own waits, or ends soon. */
    private const PATIENT = ['scopewire.timeout' => 300, 'scopewire.presence.timeout' => 300];

    private const HASTY = ['scopewire.presence.timeout' => 0.2, 'scopewire.presence.pause' => 1];

    private ?Fpm $fpm = null;

    protected function setUp(): void
    {
        parent::setUp();
        Route::middleware(['web', TrackPresence::class])->get('/named', fn () => 'page')->name('projects.index');
        Route::middleware(['web', TrackPresence::class.':Projects'])->get('/given', fn () => 'page');
        Route::middleware(['web', TrackPresence::class])->get('/plain', fn () => 'page');
    }

    protected function tearDown(): void
    {
        $this->fpm?->stop();
        parent::tearDown();
    }

    /**
     * PHP-FPM with a page of the middleware.
     *
     * @param array<string, mixed> $settings
     */
    private function served(array $settings): Fpm
    {
        $daemon = self::$daemon->settings();
        $scopewire = array_combine(array_map(fn ($name) => "scopewire.$name", array_keys($daemon)), $daemon);

        return $this->fpm = new Fpm($this->folder, $settings + $scopewire + ['app.key' => config('app.key'), 'app.debug' => true,
            'cache.default' => 'file', 'session.driver' => 'array', 'logging.default' => 'single']);
    }

    private function closedPort(): int
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $port = (int) substr(strrchr(stream_socket_get_name($socket, false), ':'), 1);
        fclose($socket);

        return $port;
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

    #[TestDox('a page without the id of a socket leaves the presence to the connections of the browser')]
    public function test_kept_socket(): void
    {
        $user = $this->user($this->id());
        $socket = new WebSocket(self::$daemon->port(), Daemon::KEY);
        Scopewire::presence()->setOnline($user, '/before', socketId: $socket->socketId);
        $this->actingAs($user)->get('/plain')->assertOk();
        $row = $this->rows('SELECT location, is_tied, sockets::text FROM scopewire.user_presence WHERE user_id = ?', [$user->id])[0];
        $this->assertSame(['/plain', true, '{'.$socket->socketId.'}'], array_values((array) $row));
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
        config(['scopewire.port' => $this->closedPort()]);
        foreach ([1, 2, 3] as $n) {
            $this->actingAs($this->user($this->id()))->get('/plain')->assertOk();
        }
        $this->assertSame(1, substr_count($this->log(), 'Scopewire:'), $this->log());
    }

    #[TestDox('while the daemon is frozen the response is sent first, and the heartbeat waits for the daemon')]
    public function test_frozen(): void
    {
        $fpm = $this->served(self::PATIENT);
        $user = $this->id();
        $isOnline = fn (): bool => $this->rows('SELECT FROM scopewire.user_presence WHERE user_id = ?', [$user])->isNotEmpty();
        self::$daemon->freeze();
        try {
            $this->assertSame('page', $fpm->get('/page', "user=$user"));
            $this->assertFalse($isOnline());
        } finally {
            self::$daemon->thaw();
        }
        $this->waitFor($isOnline, 'the heartbeat');
    }

    #[TestDox('while the daemon is frozen a heartbeat that gets no answer ends, and the next pages do not try')]
    public function test_frozen_pages(): void
    {
        $fpm = $this->served(self::HASTY);
        $tries = fn (): int => substr_count($this->log(), 'Scopewire:');
        self::$daemon->freeze();
        try {
            $this->assertSame('page', $fpm->get('/page', 'user='.$this->id()));
            $this->waitFor(fn () => $tries() === 1, 'the line in the log');
            foreach ([1, 2, 3] as $n) {
                $this->assertSame('page', $fpm->get('/page', 'user='.$this->id()));
            }
        } finally {
            self::$daemon->thaw();
        }
        $this->fpm->stop();
        $this->assertSame(1, $tries(), $this->log());
    }

    #[TestDox('while the daemon has not answered one page at a time tries, so that processes are left for the others')]
    public function test_frozen_probe(): void
    {
        $users = array_map(fn () => $this->id(), range(1, 6));
        $online = fn (): int => $this->rows('SELECT FROM scopewire.user_presence WHERE user_id = ANY (?)',
            ['{'.implode(',', $users).'}'])->count();
        self::$daemon->freeze();
        try {
            $this->served(self::HASTY)->get('/page', 'user='.$this->id());
            $this->waitFor(fn () => str_contains($this->log(), 'Scopewire:'), 'the line in the log');
            $this->fpm->stop();
            $this->waitFor(fn () => ! Cache::store('file')->has('scopewire:'.config('scopewire.app_id').':away'), 'the next try');
            $fpm = $this->served(self::PATIENT);       // has two processes
            foreach (array_slice($users, 1) as $user) {
                $this->assertSame('page', $fpm->get('/page', "user=$user"));
            }
        } finally {
            self::$daemon->thaw();
        }
        $this->waitFor(fn () => $online() === 1, 'the one heartbeat');
        $this->waitFor(fn () => ! Cache::store('file')->has('scopewire:'.config('scopewire.app_id').':doubt'), 'the answer');
        $this->assertSame('page', $fpm->get('/page', "user=$users[0]"));
        $this->waitFor(fn () => $online() === 2, 'the next one');
    }

    #[TestDox('a timeout that is 0, null or empty is not taken for no limit')]
    public function test_no_timeout(): void
    {
        self::$daemon->freeze();
        try {
            foreach ([0, null, ''] as $n => $timeout) {
                Cache::store('file')->flush();
                $fpm = $this->served(['scopewire.timeout' => 300, 'scopewire.presence.timeout' => $timeout]);
                $this->assertSame('page', $fpm->get('/page', 'user='.$this->id()));
                $this->waitFor(fn () => substr_count($this->log(), 'Scopewire:') === $n + 1, 'the end of the heartbeat');
                $fpm->stop();
            }
        } finally {
            self::$daemon->thaw();
        }
    }

    #[TestDox('a page that does not try leaves the heartbeat of its user to the next page')]
    public function test_probe_of_another(): void
    {
        $prefix = 'scopewire:'.config('scopewire.app_id').':';
        Cache::put($prefix.'doubt', 1);
        Cache::put($prefix.'probe', 1);
        $user = $this->user($this->id());
        $this->actingAs($user)->get('/plain')->assertOk();
        $this->assertNull($this->location($user->id));
        $this->assertTrue(Cache::has($prefix.'probe'));
        Cache::forget($prefix.'probe');
        $this->actingAs($user)->get('/plain')->assertOk();
        $this->assertSame('/plain', $this->location($user->id));
        $this->assertFalse(Cache::has($prefix.'probe') || Cache::has($prefix.'doubt'));
    }

    #[TestDox('a page whose user has had a heartbeat does not keep others from trying')]
    public function test_probe_of_a_seen_user(): void
    {
        $prefix = 'scopewire:'.config('scopewire.app_id').':';
        $user = $this->user($this->id());
        $this->actingAs($user)->get('/plain')->assertOk();
        Cache::put($prefix.'doubt', 1);
        $this->actingAs($user)->get('/named')->assertOk();
        $this->assertSame('/plain', $this->location($user->id));
        $this->assertTrue(Cache::has($prefix.'doubt'));
        $other = $this->user($this->id());
        $this->actingAs($other)->get('/plain')->assertOk();
        $this->assertSame('/plain', $this->location($other->id));
    }

    #[TestDox('a daemon that refuses a heartbeat has answered: the next pages try')]
    public function test_refused_probe(): void
    {
        $prefix = 'scopewire:'.config('scopewire.app_id').':';
        Cache::put($prefix.'doubt', 1);
        config(['scopewire.secret' => 'wrong']);
        $this->actingAs($this->user($this->id()))->get('/plain')->assertOk();
        $this->assertStringContainsString('401', $this->log());
        $this->assertFalse(Cache::has($prefix.'doubt') || Cache::has($prefix.'probe') || Cache::has($prefix.'away'));
    }

    #[TestDox('no other page tries before both calls of a heartbeat have had their time')]
    public function test_both_calls(): void
    {
        $prefix = 'scopewire:'.config('scopewire.app_id').':';
        config(['scopewire.presence.timeout' => 3]);
        Cache::put($prefix.'doubt', 1);
        $isAlone = [];
        Http::globalResponseMiddleware(function ($response) use (&$isAlone, $prefix) {
            $this->travelTo(now()->addMilliseconds(2900));
            $isAlone[] = Cache::has($prefix.'probe');

            return $response;
        });
        $user = $this->user($this->id());
        $this->actingAs($user)->get('/plain', ['X-Socket-ID' => '1.2'])->assertOk();
        $this->assertSame([true, true], $isAlone);
        $this->assertSame('/plain', $this->location($user->id));
    }

    #[TestDox('while the daemon is stopped pages are served, and one of them tries')]
    public function test_stopped(): void
    {
        $fpm = $this->served(['scopewire.port' => $this->closedPort()]);
        $this->assertSame('page', $fpm->get('/page', 'user='.$this->id()));
        $this->waitFor(fn () => substr_count($this->log(), 'Scopewire:') === 1, 'the line in the log');
        $this->assertSame('page', $fpm->get('/page', 'user='.$this->id()));
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
