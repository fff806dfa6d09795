<?php

// SPDX-License-Identifier: MIT

// The application that PHPStan boots, to know what the container has.  What it writes is in .cache.

use Illuminate\Foundation\Application;
use Scopewire\Laravel\ScopewireServiceProvider;

$folder = dirname(__DIR__, 2).'/.cache/application';
foreach (['bootstrap/cache', 'storage/framework/views', 'storage/logs', 'config'] as $name) {
    is_dir("$folder/$name") || mkdir("$folder/$name", 0755, true);
}

return Application::configure($folder)->withProviders([ScopewireServiceProvider::class], false)
    ->withMiddleware()->withExceptions()->create();
