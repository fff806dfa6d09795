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
        /** @var list<string> settings that cannot be used, and the values that are used instead */
        public readonly array $faults = [],
    ) {
    }

    public static function of(Repository $config): self
    {
        $all = (array) $config->get('scopewire');
        $text = fn (string $name): string => (string) ($all[$name] ?? '');
        $faults = [];
        $seconds = function (string $name, float $default) use ($all, &$faults): float {
            $value = $all[$name] ?? $default;
            // To Guzzle and to PHP's streams 0 is no limit.
            if (is_numeric($value) && is_finite((float) $value) && $value > 0) {
                return (float) $value;
            }
            $faults[] = "scopewire.$name must be a number of seconds greater than 0, not ".json_encode($value).": $default is used";

            return $default;
        };
        [$timeout, $connectTimeout] = [$seconds('timeout', 3), $seconds('connect_timeout', 1)];

        return new self(
            $text('app_id'), $text('key'), $text('secret'),
            self::origin($text('scheme') ?: 'http', $text('host') ?: '127.0.0.1', (int) ($all['port'] ?? 8080)),
            rtrim('/'.ltrim($text('path'), '/'), '/'), $text('auth') ?: 'basic',
            $timeout, $connectTimeout, (float) ($all['retry_after'] ?? 5), (bool) ($all['throw'] ?? false), $faults,
        );
    }

    private static function origin(string $scheme, string $host, int $port): string
    {
        $isIpv6 = str_contains($host, ':') && ! str_starts_with($host, '[');

        return $scheme.'://'.($isIpv6 ? "[$host]" : $host).':'.$port;
    }
}
