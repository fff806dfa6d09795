<?php

// SPDX-License-Identifier: MIT

use App\Models\Invoice;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Route;
use Illuminate\Support\Facades\Vite;

// As in config/livewire.php: no eval.
config(['livewire.csp_safe' => true]);
// Livewire's styles are inline, and have the nonce of Vite.
Route::get('/livewire', function (Request $request) {
    $nonce = Vite::useCspNonce();

    return response()->view('page')->header('Content-Security-Policy',
        str_replace("style-src 'self'", "style-src 'self' 'nonce-$nonce'", $request->header('X-Policy')));
});
// The test publishes the event of this one.
Route::post('/invoices/{number}', function (string $number) {
    Invoice::add($number);

    return response()->noContent();
})->withoutMiddleware('web');
require __DIR__.'/inertia.php';
