<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Checks;

use Illuminate\Foundation\Application;
use Illuminate\Support\Env;

/** The variables that settings come from: SCOPEWIRE_* where it is set, otherwise REVERB_*. */
final class Variables
{
    public function __construct(private readonly Application $app)
    {
    }

    /** @param  string  $name without prefix, such as APP_KEY */
    public function named(string $name): string
    {
        return $this->isSet("SCOPEWIRE_$name") ? "SCOPEWIRE_$name" : "REVERB_$name";
    }

    private function isSet(string $name): bool
    {
        if (Env::get($name) !== null) {
            return true;
        }
        // With a cached configuration Laravel does not read the file.
        $file = $this->app->environmentFilePath();

        return $this->app->configurationIsCached() && is_file($file)
            && preg_match("/^[ \t]*(export[ \t]+)?{$name}[ \t]*=/m", (string) file_get_contents($file)) === 1;
    }
}
