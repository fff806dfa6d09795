<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Route;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\Attributes\TestDox;
use ReflectionMethod;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Services\ActivityFeedService;
use Scopewire\Laravel\Services\DataSyncService;
use Scopewire\Laravel\Services\LockService;
use Scopewire\Laravel\Services\PresenceService;
use Scopewire\Laravel\Services\RealtimeNotificationService;
use Scopewire\Laravel\Testing\Daemon;
use Scopewire\Laravel\Testing\ScopewireFake;
use Scopewire\Laravel\Tests\TestCase;

class DocumentsTest extends TestCase
{
    private const GUIDE = __DIR__.'/../../../../docs/laravel.md';

    private const AUTHORIZATION = __DIR__.'/../../../../docs/sync/authorization.md';

    private const SYNC = __DIR__.'/../../../../docs/sync/guide.md';

    private const PAGES = [self::GUIDE, __DIR__.'/../../README.md'];

    /** Of Laravel Boost, for tools. */
    private const SKILL = __DIR__.'/../../resources/boost/skills/scopewire-development/SKILL.blade.php';

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

    #[TestDox('the PHP of the guides, and of the skill for tools, can be parsed')]
    public function test_syntax(): void
    {
        foreach ([...self::PAGES, self::SKILL] as $page) {
            foreach ($this->blocks($page) as $block) {
                // A call of a chain, as in bootstrap/app.php, is one of some object.
                $text = preg_replace('/^->/m', '$app->', str_replace('…', '...', $block), 1);
                $text = preg_match('/^->/m', $block) ? rtrim($text).';' : $block;
                $this->assertNotEmpty(token_get_all("<?php\n$text", TOKEN_PARSE));
            }
        }
    }

    #[TestDox('every method of a service that the guides and the skill call is there, with the named arguments')]
    public function test_methods(): void
    {
        $calls = 0;
        foreach ([...self::PAGES, self::SKILL] as $page) {
            $code = str_replace(['Scopewire::presence()->', 'Scopewire::activities()->', 'Scopewire::notifications()->'],
                ['$presence->', '$feed->', '$notifications->'], implode("\n", $this->blocks($page)));
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
        $this->rows('DELETE FROM scopewire.channel_rules');
    }

    #[TestDox('each PHP line of the guide of the sync API is accepted, and each curl line has one')]
    public function test_sync(): void
    {
        $text = file_get_contents(self::SYNC);
        foreach (array_slice(explode("\n## ", $text), 1) as $section) {
            preg_match_all('/```(?:sh|php)\n(.*?)\n```/s', $section, $found);
            $lines = array_map(fn ($block) => substr_count($block, "\n") + 1, $found[1]);
            $this->assertSame([$lines[0], $lines[0]], $lines, strtok($section, "\n"));
        }
        config(['scopewire.throw' => true]);
        $this->rows('DELETE FROM scopewire.channel_rules');
        [$ada, $grace, $linus] = [$this->user(7), $this->user(8, 'Grace'), $this->user(9, 'Linus')];
        $blocks = $this->blocks(self::SYNC);
        eval('use Scopewire\Laravel\Facades\Scopewire;'.implode("\n", $blocks));
        $this->assertSame('', $this->log());
        $this->assertSame([], Scopewire::client()->get('rules')['rules']);
        $this->assertSame(0, $this->rows("SELECT FROM scopewire.notifications WHERE user_id = 7 AND title = 'Invoice due'")->count());
        $this->assertSame('Kick-off', json_decode($this->rows("SELECT data FROM scopewire.sync_entity WHERE resource_type = 'note'
            AND resource_id = '5'")->first()->data)->title);
    }

    #[TestDox('predicates of the guides name the schema of their tables')]
    public function test_schemas(): void
    {
        foreach (self::PAGES as $page) {
            preg_match_all('/->sql\(.*?\bFROM (\S+)/', implode("\n", $this->blocks($page)), $found);
            $this->assertNotEmpty($found[1], $page);
            foreach ($found[1] as $table) {
                $this->assertStringStartsWith('public.', $table, $page);
            }
        }
    }

    #[TestDox('the daemon accepts the variables of the guide in a .env')]
    public function test_variables(): void
    {
        preg_match_all('/^SCOPEWIRE_\w+=\S+/m', file_get_contents(self::GUIDE), $found);
        foreach (['SCOPEWIRE_SYNC_USER_ID=text', 'SCOPEWIRE_USER_ID=text'] as $line) {
            $this->assertContains($line, $found[0]);
        }
        $this->assertNotEmpty(preg_grep('/^SCOPEWIRE_APP_AUTH_URL=/', $found[0]));
        file_put_contents("$this->folder/.env", implode("\n", ["REVERB_APP_ID=portal\nREVERB_APP_KEY=k\nREVERB_APP_SECRET=".Daemon::SECRET, ...$found[0]])."\n");
        chmod("$this->folder/.env", 0600);
        exec((getenv('SCOPEWIRED') ?: 'scopewired')." --config /dev/null --env-file $this->folder/.env --print-config 2>&1", $output, $status);
        $this->assertSame(0, $status, implode("\n", $output));
        $this->assertNotEmpty(preg_grep('/user_id.*text/', $output), implode("\n", $output));
    }

    /** @return iterable<string, array{string, int|string}> the type of the table's key, an id */
    public static function ids(): iterable
    {
        yield 'numbers' => ['bigint', 7];
        yield 'texts' => ['text', '01JDY8Q5T3M8W2K4N6P7R9S0VX'];
    }

    #[DataProvider('ids')]
    #[TestDox('the auth_url of the guide in routes/web.php answers the daemon, for ids that are')]
    public function test_auth_url(string $type, int|string $id): void
    {
        $this->rows('DROP TABLE IF EXISTS public.joiners');
        $this->rows("CREATE TABLE public.joiners (id $type PRIMARY KEY)");
        $this->rows('INSERT INTO public.joiners VALUES (?)', [$id]);
        [$block] = array_values(array_filter($this->blocks(self::AUTHORIZATION), fn ($b) => str_contains($b, 'Route::post')));
        Route::middleware('web')->group(fn () => eval('use '.Request::class.'; use '.Route::class.'; use '.Joiner::class.' as User;'.$block));
        config(['broadcasting.connections.reverb.secret' => Daemon::SECRET]);
        $this->app['env'] = 'local';     // in tests Laravel does not look for a CSRF token
        $ask = function (int|string $id, string $secret, int $time): \Illuminate\Testing\TestResponse {
            $body = json_encode(['time_ms' => $time, 'user_id' => $id, 'channels' => ['private-client.42', 'private-client.43']]);

            return $this->call('POST', '/scopewire/may', [], [], [], ['CONTENT_TYPE' => 'application/json', 'HTTP_X_PUSHER_KEY' => Daemon::KEY,
                'HTTP_X_PUSHER_SIGNATURE' => hash_hmac('sha256', $body, $secret)], $body);
        };
        $now = time() * 1000;
        $ask($id, Daemon::SECRET, $now)->assertOk()->assertExactJson(['allowed' => ['private-client.42'], 'ttl' => 60])->assertCookieMissing('laravel_session');
        $ask($type === 'text' ? 'gone' : 8, Daemon::SECRET, $now)->assertOk()->assertExactJson(['allowed' => [], 'ttl' => 60]);
        $ask($id, 'another-secret', $now)->assertUnauthorized();
        $ask($id, Daemon::SECRET, $now - 600_000)->assertUnauthorized();
        $this->rows('DROP TABLE public.joiners');
    }
}

/** The application's user in the sample of auth_url. */
class Joiner extends Model
{
    protected $table = 'joiners';

    public $incrementing = false;

    protected $keyType = 'string';

    public function mayJoin(string $channel): bool
    {
        return $channel === 'private-client.42';
    }
}
