<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Console;

use Illuminate\Console\Command;
use Illuminate\Filesystem\Filesystem;
use Illuminate\Support\Str;

/**
 * Prepares an application.  It can be run again: values and files that are there stay as they are.
 */
class InstallCommand extends Command
{
    protected $signature = 'scopewire:install';

    protected $description = 'Add the settings, files and routes that Scopewire needs';

    public function handle(Filesystem $files): int
    {
        $env = $this->laravel->environmentFilePath();
        if (! $files->exists($env)) {
            $this->components->error("There is no $env. Copy .env.example to it first.");

            return self::FAILURE;
        }
        $database = $this->writeEnvironment($files, $env);
        $this->callSilently('vendor:publish', ['--tag' => 'scopewire-config']);
        $this->components->twoColumnDetail('config/scopewire.php', 'is there');
        $this->addChannels($files);
        if ($this->laravel->configurationIsCached()) {
            $this->callSilently('config:clear');
        }
        $this->printNextSteps($env, $database);

        return self::SUCCESS;
    }

    /** @return string|null the value of DB_CONNECTION */
    private function writeEnvironment(Filesystem $files, string $path): ?string
    {
        $env = new EditsEnvironment($files->get($path));
        // The daemon reads these names from the file too: scopewired --env-file .env
        $env->add('REVERB_APP_ID', 'portal');
        $env->add('REVERB_APP_KEY', Str::lower(Str::random(20)));
        $env->add('REVERB_APP_SECRET', Str::lower(Str::random(40)));
        $env->add('REVERB_HOST', '127.0.0.1');
        if ($env->get('REVERB_PORT') === null) {
            // Where the application finds the daemon, and where the daemon listens: a proxy makes the two differ.
            $env->add('REVERB_PORT', '8080');
            $env->add('REVERB_SERVER_PORT', '8080');
        }
        $env->add('REVERB_SCHEME', 'http');
        $env->add('VITE_REVERB_APP_KEY', '"${REVERB_APP_KEY}"');
        $env->add('VITE_REVERB_HOST', '"${REVERB_HOST}"');
        $env->add('VITE_REVERB_PORT', '"${REVERB_PORT}"');
        $env->add('VITE_REVERB_SCHEME', '"${REVERB_SCHEME}"');
        $database = $env->get('DB_CONNECTION');
        if ($database === 'pgsql') {
            $env->add('SCOPEWIRE_DB_CONNECTIONS', 'pgsql');
        }
        if ($this->isToBeDefault($env->get('BROADCAST_CONNECTION'))) {
            $env->set('BROADCAST_CONNECTION', 'scopewire');
        }
        if ($env->changed !== []) {
            $files->replace($path, $env->text(), fileperms($path) & 0777);
        }
        $this->components->twoColumnDetail(basename($path), $env->changed === [] ? 'nothing to add'
            : implode(', ', $env->changed));

        return $database;
    }

    private function isToBeDefault(?string $now): bool
    {
        return match (true) {
            $now === 'scopewire' => false,
            $now === null, $now === 'log', $now === 'null', ! $this->input->isInteractive() => true,
            default => $this->components->confirm("Broadcast by scopewire instead of $now?", true),
        };
    }

    /** routes/channels.php, and the line in bootstrap/app.php that loads it and adds /broadcasting/auth. */
    private function addChannels(Filesystem $files): void
    {
        $channels = $this->laravel->basePath('routes/channels.php');
        if (! $files->exists($channels)) {
            $files->copy(__DIR__.'/../../stubs/channels.php.stub', $channels);
        }
        $bootstrap = $this->laravel->bootstrapPath('app.php');
        $text = $files->exists($bootstrap) ? $files->get($bootstrap) : '';
        if (! str_contains($text, 'channels.php') && ! str_contains($text, 'withBroadcasting')) {
            $line = "        channels: __DIR__.'/../routes/channels.php',\n";
            $new = preg_replace('/^( *)(web|commands|health): .*\n/m', '$0'.$line, $text, 1, $count);
            if ($count !== 1) {
                $this->components->warn('Add channels: __DIR__.\'/../routes/channels.php\' to withRouting() in bootstrap/app.php.');

                return;
            }
            $files->put($bootstrap, (string) $new);
        }
        $this->components->twoColumnDetail('routes/channels.php', 'is loaded');
    }

    private function printNextSteps(string $env, ?string $database): void
    {
        $this->newLine();
        $this->components->info('Next:');
        $this->line('  1. Start the daemon with the same settings:');
        if ($database === 'pgsql') {
            $this->line("       scopewired --env-file $env");
        } else {
            $this->line('     DB_CONNECTION is '.($database ?? 'not set').', and the daemon stores events in PostgreSQL only. Set DB_CONNECTION=pgsql');
            $this->line('     and DB_*, and run scopewire:install again, or let the daemon run a PostgreSQL with its data in a folder DIR:');
            $this->line("       scopewired --env-file $env --embedded-postgres DIR");
        }
        $this->line('  2. If the application\'s role is not the owner of the schema, as the owner:');
        $this->line('       psql -v role=ROLE -v schema=scopewire -f grants.sql DATABASE');
        $this->line('     grants.sql is installed with the daemon, in /usr/share/scopewire or /usr/local/share/scopewire.');
        $this->line('  3. Check everything:');
        $this->line('       php artisan scopewire:check');
    }
}
