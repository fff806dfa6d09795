<?php
// SPDX-License-Identifier: MIT
namespace App\Services;

use App\Models\User;
use Firebase\JWT\JWT;
use Illuminate\Http\Client\PendingRequest;
use Illuminate\Support\Facades\Http;

/** The sync API as an application calls it: with the app's key and secret. */
class Scopewire
{
    private array $app;

    public function __construct()
    {
        $this->app = config('broadcasting.connections.reverb');
    }

    public function sync(): PendingRequest
    {
        ['host' => $host, 'port' => $port, 'scheme' => $scheme] = $this->app['options'];

        return Http::baseUrl("$scheme://$host:$port/api/sync")
            ->withBasicAuth($this->app['key'], $this->app['secret'])->acceptJson()->throw();
    }

    /** What a user's browser calls the sync API with: a JSON Web Token of an hour. */
    public function token(User $user): string
    {
        return JWT::encode([
            'sub' => (string) $user->id, 'name' => $user->name, 'aud' => $this->app['app_id'],
            'exp' => time() + 3600,
        ], hash_hmac('sha256', 'scopewire-token', $this->app['secret']), 'HS256');
    }
}
