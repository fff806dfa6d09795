<?php

// SPDX-License-Identifier: MIT

use Illuminate\Support\Facades\Route;
use Scopewire\Laravel\Http\Controllers\ChangesController;
use Scopewire\Laravel\Http\Controllers\NotificationsController;
use Scopewire\Laravel\Http\Controllers\TokenController;

Route::match(['get', 'post'], 'token', TokenController::class)->name('token');
Route::post('changes', ChangesController::class)->name('changes');
Route::get('notifications', [NotificationsController::class, 'index'])->name('notifications');
Route::post('notifications/read', [NotificationsController::class, 'read'])->name('notifications.read');
