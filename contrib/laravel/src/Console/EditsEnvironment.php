<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Console;

/** Changes of a .env file that leave all other lines as they are. */
final class EditsEnvironment
{
    /** @var list<string> names that were added or changed */
    public array $changed = [];

    public function __construct(private string $text)
    {
    }

    public function text(): string
    {
        return $this->text;
    }

    /** The value as it is written, without quotes; null if there is no such line, or an empty one. */
    public function get(string $name): ?string
    {
        if (! preg_match($this->line($name), $this->text, $found)) {
            return null;
        }
        $value = trim($found[1], " \t\r\"'");

        return $value === '' || strtolower($value) === 'null' ? null : $value;
    }

    /** Adds a line, or fills an empty one.  A value that is there stays. */
    public function add(string $name, string $value): void
    {
        if ($this->get($name) === null) {
            $this->set($name, $value);
        }
    }

    public function set(string $name, string $value): void
    {
        if ($this->get($name) === $value) {
            return;
        }
        $this->changed[] = $name;
        if (preg_match($this->line($name), $this->text)) {
            $this->text = (string) preg_replace_callback($this->line($name), fn () => "$name=$value", $this->text, 1);

            return;
        }
        $this->text = rtrim($this->text, "\n")."\n$name=$value\n";
    }

    private function line(string $name): string
    {
        return '/^[ \t]*'.preg_quote($name, '/').'[ \t]*=[ \t]*([^\n]*)$/m';
    }
}
