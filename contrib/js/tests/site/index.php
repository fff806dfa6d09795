<?php

// SPDX-License-Identifier: MIT
// The application's only script, in the folder that tests/site.mjs makes.

use Illuminate\Foundation\Application;
use Illuminate\Foundation\Configuration\Exceptions;
use Illuminate\Foundation\Configuration\Middleware;
use Illuminate\Http\Request;

require __DIR__.'/vendor/autoload.php';

Application::configure(__DIR__)
    ->withRouting(web: __DIR__.'/routes.php')
    ->withMiddleware(fn (Middleware $middleware) => $middleware->web(append: [Inertia\Middleware::class]))
    ->withExceptions(fn (Exceptions $exceptions) => null)
    ->create()
    ->handleRequest(Request::capture());
