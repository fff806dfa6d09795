<?php

// SPDX-License-Identifier: MIT

use App\Events\InvoiceCreated;
use App\Models\Invoice;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Route;
use Inertia\Inertia;

Route::get('/inertia/about', fn () => Inertia::render('About'));
Route::get('/inertia/invoices', fn () => Inertia::render('Invoices', ['client' => 42, 'invoices' => fn () => Invoice::numbers()]));
Route::post('/inertia/invoices', function (Request $request) {
    $number = $request->validate(['number' => 'required|max:40'])['number'];
    broadcast(new InvoiceCreated(Invoice::add($number)))->toOthers();

    return back();
});
