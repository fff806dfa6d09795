<?php

// SPDX-License-Identifier: MIT
// What tests/Fpm.php serves: a page of a user who is signed in, with the middleware TrackPresence.

use App\Models\User;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Bootstrap\LoadConfiguration;
use Illuminate\Foundation\Configuration\Exceptions;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\Route;
use Scopewire\Laravel\Http\Middleware\TrackPresence;
use Scopewire\Laravel\ScopewireServiceProvider;

require $_SERVER['SERVED_AUTOLOAD'];

$app = Application::configure($_SERVER['SERVED_FOLDER'])
    ->withProviders([ScopewireServiceProvider::class], false)
    ->withRouting(using: fn () => Route::middleware(TrackPresence::class)->get('/page', function (Request $request): string {
        Auth::setUser((new User)->forceFill(['id' => (int) $request->query('user'), 'name' => 'Ada']));

        return 'page';
    }))
    ->withExceptions(fn (Exceptions $exceptions) => null)->create();
$app->afterBootstrapping(LoadConfiguration::class, fn (Application $app) => $app['config']->set(
    json_decode(file_get_contents($app->basePath('settings.json')), true)));
$app->handleRequest(Request::capture());
