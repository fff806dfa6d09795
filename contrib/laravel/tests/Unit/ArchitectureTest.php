<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Unit;

use PHPUnit\Framework\Attributes\TestDox;
use PHPUnit\Framework\TestCase;
use RecursiveDirectoryIterator;
use RecursiveIteratorIterator;
use SplFileInfo;

class ArchitectureTest extends TestCase
{
    /** @return array<string, string> code without comments, by the path under src/ */
    private static function sources(string $under = ''): array
    {
        $root = dirname(__DIR__, 2).'/src';
        $sources = [];
        foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($root, RecursiveDirectoryIterator::SKIP_DOTS)) as $file) {
            assert($file instanceof SplFileInfo);
            $path = substr($file->getPathname(), strlen($root) + 1);
            if (str_starts_with($path, $under)) {
                $sources[$path] = implode('', array_map(fn ($t) => is_array($t) ? (in_array($t[0], [T_COMMENT, T_DOC_COMMENT], true) ? '' : $t[1]) : $t,
                    token_get_all((string) file_get_contents($file->getPathname()))));
            }
        }
        self::assertNotEmpty($sources);

        return $sources;
    }

    /** @param  list<string>  $except */
    private static function assertNowhere(string $pattern, string $under = '', array $except = []): void
    {
        foreach (self::sources($under) as $path => $code) {
            if (array_filter($except, fn ($one) => str_starts_with($path, $one)) === []) {
                self::assertDoesNotMatchRegularExpression($pattern, $code, $path);
            }
        }
    }

    #[TestDox('no class has static state, except for tests')]
    public function test_static(): void
    {
        self::assertNowhere('/(public|protected|private|readonly)\s+static\s+\??[\w\\\\|]*\s*\$|^\s+static \$\w/m', '', ['Testing/']);
    }

    #[TestDox('env() is called in the configuration only')]
    public function test_env(): void
    {
        self::assertNowhere('/(?<![>:\w$])(env|getenv)\(/', '', ['Testing/']);
    }

    #[TestDox('nothing is printed, ended or evaluated')]
    public function test_debug(): void
    {
        self::assertNowhere('/(?<![>:\w$])(dd|dump|var_dump|print_r|exit|die|eval|unserialize)\s*\(/');
    }

    #[TestDox('services know nothing of commands, controllers and tests')]
    public function test_layers(): void
    {
        self::assertNowhere('/use (Scopewire\\\\Laravel\\\\(Console|Http|Testing|Facades)|Illuminate\\\\Support\\\\Facades)\\\\/', 'Services/');
        self::assertNowhere('/use (Scopewire\\\\Laravel\\\\(Console|Http|Testing|Facades|Services))\\\\/', 'Support/');
    }

    #[TestDox('optional packages are not needed')]
    public function test_optional(): void
    {
        self::assertNowhere('/use (Spatie|Laravel\\\\(Pulse|Telescope|Octane|Reverb))\\\\/');
    }
}
