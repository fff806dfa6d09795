<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Console;

use Illuminate\Console\Command;
use Scopewire\Laravel\Checks\Checker;

class CheckCommand extends Command
{
    protected $signature = 'scopewire:check';

    protected $description = 'Find what is wrong between the application, the daemon and the database';

    public function handle(Checker $checker): int
    {
        $wrong = 0;
        foreach ($checker->run() as $name => $finding) {
            $this->line(($finding->isOk ? '<info>ok</info>     ' : '<error>WRONG</error>  ').$name.': '.$finding->text);
            if (! $finding->isOk) {
                $wrong++;
                $this->line('       '.$finding->remedy);
            }
        }
        $this->newLine();
        $this->line($wrong === 0 ? 'Everything is right.' : "$wrong wrong.");

        return $wrong === 0 ? self::SUCCESS : self::FAILURE;
    }
}
