<?php

// SPDX-License-Identifier: MIT

namespace App\Http\Controllers;

use App\Models\User;
use Illuminate\Http\RedirectResponse;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Auth;
use Illuminate\View\View;

/** A demonstration: one of the seeded users is chosen, without a password. */
class SessionController
{
    public function create(): View
    {
        return view('login', ['users' => User::query()->with('clients')->orderBy('id')->get()]);
    }

    public function store(Request $request, User $user): RedirectResponse
    {
        Auth::login($user);
        $request->session()->regenerate();

        return redirect()->intended('/');
    }

    public function destroy(Request $request): RedirectResponse
    {
        Auth::logout();
        $request->session()->invalidate();

        return redirect('/login');
    }
}
