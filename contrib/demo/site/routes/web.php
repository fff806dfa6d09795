<?php

// SPDX-License-Identifier: MIT

use App\Http\Controllers\InvoiceController;
use App\Http\Controllers\ProjectController;
use App\Http\Controllers\SessionController;
use Illuminate\Support\Facades\Route;

Route::get('/login', [SessionController::class, 'create'])->name('login');
Route::post('/login/{user}', [SessionController::class, 'store'])->name('login.as');

Route::middleware('auth')->group(function () {
    Route::post('/logout', [SessionController::class, 'destroy'])->name('logout');
    Route::get('/', [ProjectController::class, 'index'])->name('overview');

    Route::prefix('/projects/{project}')->middleware('can:view,project')->controller(ProjectController::class)->group(function () {
        Route::get('/', 'show')->name('project');
        Route::get('/live', 'live')->name('project.live');
        Route::get('/comments', 'comments')->name('project.comments');
        Route::post('/comments', 'comment');
        Route::post('/files', 'upload')->name('project.files');
        Route::delete('/files/{file}', 'removeFile')->scopeBindings()->name('project.file');
        Route::post('/time', 'recordTime')->name('project.time');
    });
    Route::post('/invoices/{invoice}/send', [InvoiceController::class, 'send'])->middleware('can:send,invoice')->name('invoice.send');
    Route::post('/invoices/{invoice}/pay', [InvoiceController::class, 'pay'])->middleware('can:pay,invoice')->name('invoice.pay');
});
