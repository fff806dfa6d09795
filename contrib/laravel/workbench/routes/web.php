<?php

// SPDX-License-Identifier: MIT

use Illuminate\Support\Facades\Route;

Route::get('/login', fn () => 'log in')->name('login');
