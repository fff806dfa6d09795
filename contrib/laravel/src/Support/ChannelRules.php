<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Support;

/** The rules that were defined since the application started. */
final class ChannelRules
{
    /** @var array<string, ChannelRule> */
    private array $rules = [];

    public function add(ChannelRule $rule): void
    {
        $this->rules[json_encode([$rule->pattern, $rule->rule, $rule->argument], JSON_THROW_ON_ERROR)] = $rule;
    }

    /** @return list<ChannelRule> */
    public function all(): array
    {
        return array_values($this->rules);
    }
}
