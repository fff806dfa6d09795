<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Checks;

/** What a check found: nothing wrong, or what is wrong and what to do. */
final class Finding
{
    private function __construct(
        public readonly bool $isOk,
        public readonly string $text,
        public readonly string $remedy = '',
        public readonly bool $endsChecks = false,
    ) {
    }

    public static function ok(string $text): self
    {
        return new self(true, $text);
    }

    /** @param  bool  $endsChecks the checks after this one could only fail too */
    public static function wrong(string $text, string $remedy, bool $endsChecks = false): self
    {
        return new self(false, $text, $remedy, $endsChecks);
    }
}
