<?php
// SPDX-License-Identifier: MIT
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Configuration\Exceptions;
use Illuminate\Foundation\Configuration\Middleware;
use Illuminate\Http\Middleware\HandleCors;

return Application::configure(basePath: dirname(__DIR__))
    ->withProviders([App\Providers\AppServiceProvider::class], withBootstrapProviders: false)
    ->withRouting(
        web: __DIR__.'/../routes/web.php',
        channels: __DIR__.'/../routes/channels.php',
        health: '/healthy',
    )
    ->withMiddleware(function (Middleware $middleware) {
        $middleware->remove(HandleCors::class);    // page and application are of one origin
    })
    ->withExceptions(function (Exceptions $exceptions) {
    })->create();
