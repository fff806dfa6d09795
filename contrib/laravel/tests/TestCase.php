<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests;

use App\Models\User;
use Illuminate\Contracts\Console\Kernel;
use Illuminate\Filesystem\Filesystem;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Bootstrap\LoadConfiguration;
use Illuminate\Foundation\Configuration\Exceptions;
use Illuminate\Foundation\Configuration\Middleware;
use Illuminate\Foundation\Testing\TestCase as BaseTestCase;
use Illuminate\Support\Collection;
use Illuminate\Support\Facades\Artisan;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Facade;
use Scopewire\Laravel\ScopewireServiceProvider;
use Scopewire\Laravel\Testing\Daemon;

/** A real application, in a folder of its own, with the daemon's PostgreSQL as its database. */
abstract class TestCase extends BaseTestCase
{
    public static Daemon $daemon;

    protected string $folder;

    /** @return list<class-string> */
    protected function providers(): array
    {
        return [ScopewireServiceProvider::class];
    }

    /** @return array<string, mixed> in dot notation, added to the configuration */
    protected function settings(): array
    {
        return [];
    }

    /** The application's routes/channels.php. */
    protected function channels(): string
    {
        return __DIR__.'/channels.php';
    }

    public function createApplication(): Application
    {
        $this->folder = sys_get_temp_dir().'/scopewire-app-'.bin2hex(random_bytes(6));
        foreach (['bootstrap/cache', 'storage/framework/views', 'storage/framework/cache/data',
            'storage/framework/sessions', 'storage/logs', 'config', 'routes', 'resources/views', 'app', 'database'] as $name) {
            mkdir("$this->folder/$name", 0755, true);
        }
        copy(__DIR__.'/../composer.json', "$this->folder/composer.json");
        $app = Application::configure($this->folder)
            ->withProviders($this->providers(), false)
            ->withRouting(web: __DIR__.'/../workbench/routes/web.php', channels: $this->channels())
            ->withMiddleware(fn (Middleware $middleware) => $this->middleware($middleware))
            ->withExceptions(fn (Exceptions $exceptions) => null)->create();
        $app->afterBootstrapping(LoadConfiguration::class, function (Application $app): void {
            $app->detectEnvironment(fn () => 'testing');
            $app['config']->set($this->configuration());
        });
        $app->make(Kernel::class)->bootstrap();

        return $app;
    }

    protected function middleware(Middleware $middleware): void
    {
    }

    /** @return array<string, mixed> */
    private function configuration(): array
    {
        $scopewire = array_combine(array_map(fn ($name) => "scopewire.$name", array_keys(self::$daemon->settings())),
            self::$daemon->settings());

        return $this->settings() + $scopewire + [
            'app.key' => 'base64:'.base64_encode(str_repeat('a', 32)), 'app.url' => 'http://127.0.0.1', 'app.debug' => true,
            'database.default' => 'pgsql', 'database.connections.pgsql' => self::$daemon->connection(),
            'session.driver' => 'array', 'cache.default' => 'array', 'queue.default' => 'sync',
            'broadcasting.default' => 'scopewire', 'logging.default' => 'single', 'auth.providers.users.model' => User::class,
            'scopewire.database.connections' => 'pgsql', 'scopewire.throw' => false,
        ];
    }

    protected function setUp(): void
    {
        parent::setUp();
        DB::unprepared(file_get_contents(__DIR__.'/tables.sql'));
    }

    protected function tearDown(): void
    {
        DB::disconnect();
        parent::tearDown();
        Facade::clearResolvedInstances();
        (new Filesystem)->deleteDirectory($this->folder);
    }

    /**
     * @param array<string, mixed> $arguments
     * @return array{int, string} status and output
     */
    protected function command(string $name, array $arguments = []): array
    {
        $status = Artisan::call($name, $arguments);

        return [$status, Artisan::output()];
    }

    /** The application's log. */
    protected function log(): string
    {
        return (string) @file_get_contents("$this->folder/storage/logs/laravel.log");
    }

    /**
     * Events that are in the log or will be, in their order.
     *
     * @return Collection<int, \stdClass>
     */
    protected function events(string $name, ?string $channel = null): Collection
    {
        return $this->rows('SELECT * FROM (SELECT serial, channel, event_type, payload::text, exclude_socket, event_id
            FROM scopewire.realtime_events) e WHERE event_type = ? AND (?::text IS NULL OR channel = ?) ORDER BY serial',
            [$name, $channel, $channel]);
    }

    /**
     * @param array<int, mixed> $values
     * @return Collection<int, \stdClass>
     */
    protected function rows(string $sql, array $values = []): Collection
    {
        return new Collection(DB::select($sql, $values));
    }

    /** @template T @param  callable(): T  $look @return T */
    protected function waitFor(callable $look, string $what = 'the state'): mixed
    {
        $end = microtime(true) + 60;
        while (! ($found = $look())) {
            if (microtime(true) > $end) {
                $this->fail("$what did not come. The daemon's log:\n".substr(self::$daemon->log(), -3000));
            }
            usleep(10_000);
        }

        return $found;
    }

    protected function user(int $id, string $name = 'Ada'): User
    {
        return User::query()->firstOrCreate(['id' => $id], ['name' => $name, 'email' => "$id@example.org", 'password' => '-']);
    }

    /** A number that no other test uses. */
    protected function id(): int
    {
        return random_int(1_000_000, 900_000_000_000);
    }
}
