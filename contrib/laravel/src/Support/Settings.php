<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Support;

use Illuminate\Contracts\Config\Repository;

/** The values of config/scopewire.php, with types. */
final class Settings
{
    public function __construct(
        public readonly string $appId,
        public readonly string $key,
        public readonly string $secret,
        public readonly string $origin,
        public readonly string $path = '',
        public readonly string $auth = 'basic',
        public readonly float $timeout = 3,
        public readonly float $connectTimeout = 1,
        public readonly float $retryAfter = 5,
        public readonly bool $throw = false,
        public readonly string $userId = 'bigint',
        public readonly int $tokenTtl = 3600,
        /** @var array<string, string> by the setting's name: why it cannot be used, and what is used instead */
        public readonly array $faults = [],
    ) {
    }

    public static function of(Repository $config): self
    {
        $all = (array) $config->get('scopewire');
        $text = fn (string $name): string => (string) ($all[$name] ?? '');
        $faults = [];
        $seconds = function (string $name, float $default, float $least = 0) use ($all, &$faults): float {
            $value = data_get($all, $name) ?? $default;
            // To Guzzle and to PHP's streams 0 is no limit.
            if (is_numeric($value) && is_finite((float) $value) && $value > 0 && $value >= $least) {
                return (float) $value;
            }
            $faults[$name] = "scopewire.$name must be a number of seconds ".($least > 0 ? "from $least" : 'greater than 0').', not '
                .json_encode($value).": $default is used";

            return $default;
        };
        $word = function (string $name, array $words) use ($text, &$faults): string {
            $value = $text($name) ?: $words[0];
            if (in_array($value, $words, true)) {
                return $value;
            }
            $faults[$name] = "scopewire.$name must be ".implode(' or ', $words).', not '.json_encode($value).": $words[0] is used";

            return $words[0];
        };
        [$timeout, $connectTimeout, $ttl] = [$seconds('timeout', 3), $seconds('connect_timeout', 1), $seconds('token.ttl', 3600, 1)];
        [$auth, $userId] = [$word('auth', ['basic', 'signed']), $word('user_id', ['bigint', 'text'])];

        return new self(
            $text('app_id'), $text('key'), $text('secret'),
            self::origin($text('scheme') ?: 'http', $text('host') ?: '127.0.0.1', (int) ($all['port'] ?? 8080)),
            rtrim('/'.ltrim($text('path'), '/'), '/'), $auth, $timeout, $connectTimeout,
            (float) ($all['retry_after'] ?? 5), (bool) ($all['throw'] ?? false), $userId, (int) $ttl, $faults,
        );
    }

    private static function origin(string $scheme, string $host, int $port): string
    {
        $isIpv6 = str_contains($host, ':') && ! str_starts_with($host, '[');

        return $scheme.'://'.($isIpv6 ? "[$host]" : $host).':'.$port;
    }
}
