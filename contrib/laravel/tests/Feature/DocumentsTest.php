<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use PHPUnit\Framework\Attributes\TestDox;
use ReflectionMethod;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Services\ActivityFeedService;
use Scopewire\Laravel\Services\DataSyncService;
use Scopewire\Laravel\Services\LockService;
use Scopewire\Laravel\Services\PresenceService;
use Scopewire\Laravel\Services\RealtimeNotificationService;
use Scopewire\Laravel\Testing\ScopewireFake;
use Scopewire\Laravel\Tests\TestCase;

class DocumentsTest extends TestCase
{
    private const GUIDE = __DIR__.'/../../../../docs/laravel.md';

    private const PAGES = [self::GUIDE, __DIR__.'/../../README.md'];

    private const SERVICES = [
        'presence' => PresenceService::class, 'locks' => LockService::class, 'feed' => ActivityFeedService::class,
        'notifications' => RealtimeNotificationService::class, 'data' => DataSyncService::class, 'fake' => ScopewireFake::class,
        'Scopewire' => \Scopewire\Laravel\Scopewire::class,
    ];

    /** @return list<string> the blocks of PHP */
    private function blocks(string $page): array
    {
        preg_match_all('/```php\n(.*?)```/s', file_get_contents($page), $found);
        $this->assertNotEmpty($found[1], $page);

        return $found[1];
    }

    #[TestDox('the PHP of the guides can be parsed')]
    public function test_syntax(): void
    {
        foreach (self::PAGES as $page) {
            foreach ($this->blocks($page) as $block) {
                // A call of a chain, as in bootstrap/app.php, is one of some object.
                $text = preg_replace('/^->/m', '$app->', str_replace('…', '...', $block), 1);
                $text = preg_match('/^->/m', $block) ? rtrim($text).';' : $block;
                $this->assertNotEmpty(token_get_all("<?php\n$text", TOKEN_PARSE));
            }
        }
    }

    #[TestDox('every method of a service that the guides call is there, with the named arguments')]
    public function test_methods(): void
    {
        $calls = 0;
        foreach (self::PAGES as $page) {
            $code = implode("\n", $this->blocks($page));
            preg_match_all('/(?:\$(?:this->)?(presence|locks|feed|notifications|data|fake)->|\b(Scopewire)::)(\w+)\((.*?)\);/s', $code, $found, PREG_SET_ORDER);
            foreach ($found as [, $variable, $facade, $name, $arguments]) {
                $class = self::SERVICES[$variable ?: $facade];
                if ($facade && $name === 'fake') {
                    continue;
                }
                $this->assertTrue(method_exists($class, $name), "$class::$name()");
                preg_match_all('/(?:^|, |\n\s*)(\w+): /', $arguments, $named);
                $parameters = array_map(fn ($p) => $p->getName(), (new ReflectionMethod($class, $name))->getParameters());
                if (! str_contains($arguments, 'channels()') && $name !== 'channels') {
                    $this->assertSame([], array_diff($named[1], $parameters), "$class::$name()");
                }
                $calls++;
            }
        }
        $this->assertGreaterThan(25, $calls);
    }

    #[TestDox('the rules of the guide let in whom they name, by Laravel and by the daemon')]
    public function test_rules(): void
    {
        $this->rows('CREATE TABLE IF NOT EXISTS public.client_user (client_id bigint, user_id bigint)');
        [$member, $other, $client] = [$this->user($this->id()), $this->user($this->id()), $this->id()];
        $this->rows('INSERT INTO public.client_user VALUES (?, ?)', [$client, $member->id]);
        [$block] = array_values(array_filter($this->blocks(self::GUIDE), fn ($b) => str_contains($b, 'Scopewire::channels()')));
        eval('use Scopewire\Laravel\Facades\Scopewire;'.$block);
        [$status, $output] = $this->command('scopewire:rules');
        $this->assertSame(0, $status, $output);
        $may = fn ($user, string $channel): bool => Scopewire::channels()->can($user, $channel);
        $this->assertTrue($may($member, "private-client.$client"));
        $this->assertFalse($may($other, "private-client.$client"));
        $this->assertTrue($may($member, "private-App.Models.User.$member->id"));
        $this->assertFalse($may($other, "private-App.Models.User.$member->id"));
        $this->assertFalse($may($member, 'private-admin'));
    }
}
