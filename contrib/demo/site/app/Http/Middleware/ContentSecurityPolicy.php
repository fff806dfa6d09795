<?php

// SPDX-License-Identifier: MIT

namespace App\Http\Middleware;

use Closure;
use Illuminate\Http\Request;
use Symfony\Component\HttpFoundation\Response;

/** Only what the application serves runs, and only the daemon can be connected to besides. */
class ContentSecurityPolicy
{
    public function handle(Request $request, Closure $next): Response
    {
        $response = $next($request);
        $daemon = $request->getHost().':'.config('scopewire.port');
        $response->headers->set('Content-Security-Policy', implode('; ', [
            "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:",
            "connect-src 'self' ws://$daemon http://$daemon", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
        ]));

        return $response;
    }
}
