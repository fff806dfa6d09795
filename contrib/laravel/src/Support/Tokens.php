<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Support;

use Firebase\JWT\JWT;
use Illuminate\Contracts\Config\Repository;
use InvalidArgumentException;

/**
 * Issues the tokens with which a user's browser calls the sync API and the daemon's
 * /broadcasting/auth.
 */
class Tokens
{
    // The daemon refuses tokens with more.
    private const NAME_BYTES = 255;

    private const AVATAR_BYTES = 2048;

    private const ROLES = 64;

    // The daemon and firebase/php-jwt refuse shorter keys.
    private const SECRET_BYTES = 32;

    public function __construct(
        private readonly Repository $config,
        private readonly Users $users,
    ) {
    }

    /** @param  int|null  $ttl in seconds; by default that of config/scopewire.php */
    public function issue(mixed $user, ?int $ttl = null): string
    {
        $now = time();
        $avatar = $this->users->avatar($user);
        $claims = [
            'sub' => (string) $this->users->id($user),
            'aud' => (string) $this->config->get('scopewire.app_id'),
            'iat' => $now,
            'exp' => $now + ($ttl ?? $this->ttl()),
            'name' => mb_strcut((string) $this->users->name($user), 0, self::NAME_BYTES),
            'avatar' => strlen((string) $avatar) <= self::AVATAR_BYTES ? $avatar : null,
            // Without any, the roles that the daemon stores count.
            'roles' => array_slice($this->users->roles($user), 0, self::ROLES),
        ];

        return JWT::encode(array_filter($claims, fn ($value) => $value !== null && $value !== '' && $value !== []),
            $this->key(), 'HS256');
    }

    public function ttl(): int
    {
        return Settings::of($this->config)->tokenTtl;
    }

    /** The application's token_secret; without one, the key that the daemon makes of the secret. */
    private function key(): string
    {
        $secret = (string) $this->config->get('scopewire.token.secret');
        if ($secret !== '' && strlen($secret) < self::SECRET_BYTES) {
            throw new InvalidArgumentException('scopewire.token.secret has '.strlen($secret).' bytes; it must have '.self::SECRET_BYTES.' or more');
        }

        return $secret !== '' ? $secret : hash_hmac('sha256', 'scopewire-token', (string) $this->config->get('scopewire.secret'));
    }
}
