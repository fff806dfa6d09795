<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Support;

use Illuminate\Contracts\Auth\Factory;
use Illuminate\Support\Facades\Route;

/**
 * What @scopewireToken puts into a page: the token of a user as <meta name="scopewire-token">, and
 * where the next one comes from as <meta name="scopewire-token-url">.  Nothing for guests.
 */
class TokenTags
{
    public function __construct(private readonly Tokens $tokens, private readonly Factory $auth)
    {
    }

    /** @param  mixed  $user by default the user that is signed in */
    public function render(mixed $user = null): string
    {
        $user ??= $this->auth->guard()->user();
        if ($user === null) {
            return '';
        }
        $tags = '<meta name="scopewire-token" content="'.e($this->tokens->issue($user)).'">';
        if (Route::has('scopewire.token')) {
            $tags .= '<meta name="scopewire-token-url" content="'.e(route('scopewire.token', [], false)).'">';
        }

        return $tags;
    }
}
