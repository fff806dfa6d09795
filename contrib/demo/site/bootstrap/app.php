<?php

// SPDX-License-Identifier: MIT

use App\Http\Middleware\ContentSecurityPolicy;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Configuration\Exceptions;
use Illuminate\Foundation\Configuration\Middleware;
use Illuminate\Http\Request;
use Scopewire\Laravel\Http\Middleware\TrackPresence;

$app = Application::configure(basePath: dirname(__DIR__))
    ->withRouting(
        web: __DIR__.'/../routes/web.php',
        commands: __DIR__.'/../routes/console.php',
        channels: __DIR__.'/../routes/channels.php',
        health: '/up',
    )
    ->withMiddleware(function (Middleware $middleware): void {
        $middleware->web(append: [ContentSecurityPolicy::class, TrackPresence::class]);
        $middleware->redirectGuestsTo('/login');
    })
    ->withExceptions(function (Exceptions $exceptions): void {
        $exceptions->shouldRenderJsonWhen(fn (Request $request) => $request->expectsJson());
    })->create();

// Everything that a run of the demo writes is in a folder of its own: .env, logs, sessions, files.
$state = getenv('PORTAL_STATE') ?: dirname(__DIR__).'/storage';
$app->useEnvironmentPath($state);
$app->useStoragePath($state.'/storage');

return $app;
