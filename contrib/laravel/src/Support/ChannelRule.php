<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Support;

use InvalidArgumentException;

/** One row of channel_rules: which users may join the channels of a pattern. */
final class ChannelRule
{
    /**
     * @param string $pattern the channel's name without private- or presence-, such as client.{id}
     * @param string $rule anyone, owner, role or sql
     * @param string|null $argument owner: the placeholder; role: roles, with commas; sql: the predicate
     */
    public function __construct(
        public readonly string $pattern,
        public readonly string $rule,
        public readonly ?string $argument = null,
        public readonly bool $canWrite = false,
    ) {
        if (preg_match('/\A(private|presence)-(?!(presence|private)-)[^{}]*\z/', $pattern) && str_starts_with($pattern, 'private-')) {
            throw new InvalidArgumentException("The pattern $pattern begins with private-: a pattern has no prefix.");
        }
        if ($rule === 'owner' && ! str_contains($pattern, '{'.$argument.'}')) {
            throw new InvalidArgumentException("The pattern $pattern has no placeholder {{$argument}}.");
        }
    }

    /** @return array<string, string>|null the values of the placeholders; null: the pattern does not match */
    public function match(string $name): ?array
    {
        $regex = preg_replace('/\\\\\{(\w+)\\\\\}/', '(?<$1>[^.]+)', preg_quote($this->pattern, '/'));
        if (! preg_match("/\A$regex\z/", $name, $found)) {
            return null;
        }

        return array_filter($found, is_string(...), ARRAY_FILTER_USE_KEY);
    }

    /** @return list<string> */
    public function roles(): array
    {
        return array_map(trim(...), explode(',', (string) $this->argument));
    }
}
