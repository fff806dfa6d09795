<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Http\Controllers;

use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Scopewire\Laravel\Support\Tokens;

/** A new token for the user that is signed in: also the way to refresh one. */
class TokenController
{
    public function __invoke(Request $request, Tokens $tokens): JsonResponse
    {
        abort_if($request->user() === null, 401);

        return new JsonResponse(['token' => $tokens->issue($request->user()), 'expires_in' => $tokens->ttl()], 200,
            ['Cache-Control' => 'no-store, private']);
    }
}
