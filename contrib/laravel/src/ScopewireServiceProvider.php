<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel;

use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Contracts\Config\Repository;
use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Http\Client\Factory;
use Illuminate\Notifications\ChannelManager;
use Illuminate\Queue\Events\JobExceptionOccurred;
use Illuminate\Queue\Events\JobProcessed;
use Illuminate\Queue\Events\JobProcessing;
use Illuminate\Support\Facades\Route;
use Illuminate\Support\ServiceProvider;
use Illuminate\View\Compilers\BladeCompiler;
use Psr\Log\LoggerInterface;
use Scopewire\Laravel\Broadcasting\ScopewireBroadcaster;
use Scopewire\Laravel\Http\Controllers\WebhooksController;
use Scopewire\Laravel\Notifications\ScopewireChannel;
use Scopewire\Laravel\Support\ChannelRules;
use Scopewire\Laravel\Support\Database;
use Scopewire\Laravel\Support\EventKeys;
use Scopewire\Laravel\Support\Settings;
use Scopewire\Laravel\Support\TokenTags;
use Scopewire\Laravel\Support\Users;

class ScopewireServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        $this->mergeConfigFrom(__DIR__.'/../config/scopewire.php', 'scopewire');

        // Scoped: each request of a long-running process has a client of its own.
        $this->app->scoped(Client::class, fn (Application $app) => new Client(
            Settings::of($app->make(Repository::class)), $app->make(Factory::class), $app->make(LoggerInterface::class),
            $app->make(EventKeys::class)));
        $this->app->singleton(Users::class, function (Application $app): Users {
            /** @var class-string<Users> $class */
            $class = $app->make(Repository::class)->get('scopewire.users') ?: Users::class;

            $users = $app->build($class);
            $users->idType = Settings::of($app->make(Repository::class))->userId;

            return $users;
        });
        $this->app->singleton(ChannelRules::class);
        $this->app->singleton(EventKeys::class);
        $this->app->bind(Scopewire::class);
        $this->addBroadcastConnection();
    }

    public function boot(): void
    {
        $this->app->afterResolving(BroadcastManager::class, function (BroadcastManager $manager): void {
            $manager->extend('scopewire', $this->makeBroadcaster(...));
        });
        $this->app->afterResolving(ChannelManager::class, function (ChannelManager $manager): void {
            $manager->extend('scopewire', fn (Application $app) => $app->make(ScopewireChannel::class));
        });
        $this->numberEventsOfJobs();
        $this->addRoutes();
        $this->callAfterResolving(BladeCompiler::class, function (BladeCompiler $blade): void {
            $blade->directive('scopewireToken', fn (string $user) => '<?php echo app(\\'.TokenTags::class."::class)->render($user); ?>");
        });
        if ($this->app->runningInConsole()) {
            $this->commands([
                Console\CheckCommand::class, Console\ImportActivityLogCommand::class, Console\InstallCommand::class, Console\RulesCommand::class,
                Console\SendCommand::class, Console\StatusCommand::class, Console\TailCommand::class,
            ]);
        }
        $this->publishes([__DIR__.'/../config/scopewire.php' => $this->app->configPath('scopewire.php')], 'scopewire-config');
    }

    /** config/broadcasting.php needs no entry; one that it has is kept. */
    private function addBroadcastConnection(): void
    {
        $config = $this->app->make(Repository::class);
        if ($config->get('broadcasting.connections.scopewire') === null) {
            $config->set('broadcasting.connections.scopewire', ['driver' => 'scopewire']);
        }
    }

    /**
     * What config/broadcasting.php has for the connection replaces the values of config/scopewire.php.
     *
     * @param array<string, mixed> $connection
     */
    private function makeBroadcaster(Application $app, array $connection): ScopewireBroadcaster
    {
        $all = (array) $app->make(Repository::class)->get('scopewire');
        $masterKey = (string) ($connection['options']['encryption_master_key_base64'] ?? $all['encryption_master_key'] ?? '');
        unset($connection['options']['encryption_master_key_base64']);
        $scheme = $all['scheme'] ?? 'http';
        $settings = Settings::of($app->make(Repository::class));
        $pusher = $app->make(BroadcastManager::class)->pusher([
            'key' => $connection['key'] ?? $all['key'] ?? '',
            'secret' => $connection['secret'] ?? $all['secret'] ?? '',
            'app_id' => $connection['app_id'] ?? $all['app_id'] ?? '',
            'options' => ($connection['options'] ?? []) + array_filter([
                'host' => $all['host'] ?? null, 'port' => $all['port'] ?? null, 'scheme' => $scheme,
                'useTLS' => $scheme === 'https', 'path' => $all['path'] ?? null,
                'timeout' => $settings->timeout,
                // With another one Pusher could not be made, and so no channel be defined.  An encrypted event is refused.
                'encryption_master_key_base64' => ScopewireBroadcaster::isMasterKey($masterKey) ? $masterKey : null,
            ], fn ($value) => $value !== null && $value !== ''),
            'client_options' => ($connection['client_options'] ?? []) + [
                'timeout' => $settings->timeout, 'connect_timeout' => $settings->connectTimeout,
            ],
        ]);

        return new ScopewireBroadcaster($pusher, $app->make(Database::class), $app->make(EventKeys::class),
            $masterKey, (bool) ($connection['jsonp'] ?? false));
    }

    /** So that a job that is retried gives its events the same keys. */
    private function numberEventsOfJobs(): void
    {
        $events = $this->app->make(Dispatcher::class);
        $keys = $this->app->make(EventKeys::class);
        $events->listen(JobProcessing::class, fn (JobProcessing $event) => $keys->begin($event->job));
        $events->listen([JobProcessed::class, JobExceptionOccurred::class], fn () => $keys->end());
    }

    private function addRoutes(): void
    {
        $config = $this->app->make(Repository::class);
        if ($config->get('scopewire.routes.enabled', true)) {
            Route::prefix((string) $config->get('scopewire.routes.prefix', 'scopewire'))
                ->middleware((array) $config->get('scopewire.routes.middleware', ['web', 'auth']))
                ->name('scopewire.')
                ->group(fn () => $this->loadRoutesFrom(__DIR__.'/../routes/scopewire.php'));
        }
        // The daemon signs in by its signature: no session, no CSRF token.
        if ($config->get('scopewire.webhooks.enabled', true)) {
            Route::post((string) $config->get('scopewire.webhooks.path', 'scopewire/webhooks'), WebhooksController::class)
                ->middleware((array) $config->get('scopewire.webhooks.middleware', []))
                ->name('scopewire.webhooks');
        }
    }
}
