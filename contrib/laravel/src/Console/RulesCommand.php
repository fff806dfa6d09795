<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Console;

use Illuminate\Console\Command;
use Illuminate\Database\QueryException;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Services\ChannelAuthorizationService;

class RulesCommand extends Command
{
    /** PostgreSQL's SQLSTATE. */
    private const INSUFFICIENT_PRIVILEGE = '42501';

    protected $signature = 'scopewire:rules {--connection= : a database connection of the role that owns the schema}';

    protected $description = 'Write the channel rules of the application to the daemon\'s table';

    public function handle(ChannelAuthorizationService $channels): int
    {
        try {
            $done = $channels->write($this->option('connection'));
        } catch (QueryException|ScopewireException $e) {
            $this->components->error(($e->getPrevious() ?? $e)->getMessage());
            if ($e->getCode() === self::INSUFFICIENT_PRIVILEGE) {
                $this->line('  Only the owner of the schema writes rules: name a connection of that role with --connection.');
            }

            return self::FAILURE;
        }
        $this->components->info(count($channels->rules()).' rules, '.$done['added'].' of them new; '.$done['removed'].' removed.');

        return self::SUCCESS;
    }
}
