<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Console;

use Illuminate\Console\Command;
use Illuminate\Database\QueryException;
use Scopewire\Laravel\Services\ActivityLogImport;

class ImportActivityLogCommand extends Command
{
    protected $signature = 'scopewire:import-activitylog {--connection= : a database connection of the role that owns the schema}';

    protected $description = 'Copy the entries of spatie/laravel-activitylog into the activity feed';

    public function handle(ActivityLogImport $import): int
    {
        $connection = $this->option('connection') ?? config('scopewire.database.rules_connection');
        if ($connection === null) {
            $this->components->error('Name a connection of the role that owns the schema with --connection, or set SCOPEWIRE_DB_RULES_CONNECTION.');

            return self::INVALID;
        }
        try {
            $this->components->info($import->run($connection).' entries were copied.');
        } catch (QueryException $e) {
            $this->components->error(($e->getPrevious() ?? $e)->getMessage());

            return self::FAILURE;
        }

        return self::SUCCESS;
    }
}
