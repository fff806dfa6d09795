<?php

// SPDX-License-Identifier: MIT

// One daemon and one PostgreSQL for all tests; the application's tables are in the same database.

use Scopewire\Laravel\Testing\Daemon;
use Scopewire\Laravel\Tests\TestCase;

require getenv('COMPOSER_AUTOLOAD') ?: __DIR__.'/../vendor/autoload.php';

// The shell's variables are not the tests' configuration.
foreach (array_keys(getenv()) as $name) {
    if (preg_match('/^(APP|DB|REVERB|PUSHER|SCOPEWIRE|BROADCAST|QUEUE|CACHE|SESSION|LOG)_/', $name)) {
        putenv($name);
        unset($_ENV[$name], $_SERVER[$name]);
    }
}
TestCase::$daemon = Daemon::start([
    'sync' => ['presence_ttl_s' => 90],
    'app '.Daemon::APP_ID => ['allowed_origins' => '127.0.0.1, localhost'],
]);
register_shutdown_function(fn () => TestCase::$daemon->stop());
