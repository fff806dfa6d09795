<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Closure;
use Illuminate\Http\Client\ConnectionException;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Http;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\Attributes\TestDox;
use Scopewire\Laravel\Tests\TestCase;

class CheckTest extends TestCase
{
    #[TestDox('with a set-up that works everything is right')]
    public function test_right(): void
    {
        [$status, $output] = $this->command('scopewire:check');
        $this->assertSame(0, $status, $output);
        $this->assertStringContainsString('ok     database pgsql: an event of a transaction arrived', $output);
        $this->assertStringNotContainsString('WRONG', $output);
    }

    /** @return iterable<string, array{Closure, string, string}> what breaks it, the check's line, the remedy */
    public static function broken(): iterable
    {
        $set = fn (array $config) => fn () => config($config);
        yield 'no key' => [$set(['scopewire.key' => null]), 'settings: scopewire.key is empty', 'Set REVERB_APP_KEY'];
        yield 'a scheme in the host' => [$set(['scopewire.host' => 'http://127.0.0.1']), 'which is not a host', 'the scheme is REVERB_SCHEME'];
        yield 'a port that cannot be' => [$set(['scopewire.port' => 0]), 'scopewire.port is 0', 'Set REVERB_PORT'];
        yield 'events go to the log' => [$set(['broadcasting.default' => 'log']), 'events are not broadcast', 'BROADCAST_CONNECTION=scopewire'];
        yield 'Reverb\'s driver' => [$set(['broadcasting.default' => 'reverb']), 'not in transactions', 'BROADCAST_CONNECTION=scopewire'];
        yield 'a short encryption key' => [$set(['scopewire.encryption_master_key' => base64_encode('short')]), 'not 32 bytes', 'openssl rand -base64 32'];
        yield 'a short encryption key of the connection' => [$set(['broadcasting.connections.scopewire.options.encryption_master_key_base64' => 'abc']),
            'broadcasting.connections.scopewire.options.encryption_master_key_base64 is not 32 bytes', 'openssl rand -base64 32'];
        yield 'an unknown way to sign calls' => [$set(['scopewire.auth' => 'digest']), 'scopewire.auth must be basic or signed, not "digest": basic is used', 'Set SCOPEWIRE_AUTH'];
        yield 'an unknown type of ids' => [$set(['scopewire.user_id' => 'uuid']), 'scopewire.user_id must be bigint or text, not "uuid": bigint is used', 'Set SCOPEWIRE_USER_ID'];
        yield 'tokens that are not valid for a second' => [$set(['scopewire.token.ttl' => 0]), 'scopewire.token.ttl must be a number of seconds from 1, not 0: 3600 is used', 'Set SCOPEWIRE_TOKEN_TTL'];
        yield 'two settings that cannot be' => [$set(['scopewire.auth' => 'digest', 'scopewire.timeout' => 0]), 'scopewire.timeout must be a number of seconds greater than 0, not 0: 3 is used; scopewire.auth must be', 'Set SCOPEWIRE_AUTH'];
        yield 'another type of ids than the daemon' => [$set(['scopewire.user_id' => 'text']), 'ids of users: scopewire.user_id is text, and the daemon\'s sync.user_id is bigint', 'Set SCOPEWIRE_USER_ID=bigint'];
        yield 'a short token secret' => [$set(['scopewire.token.secret' => 'zzz']), 'tokens: scopewire.token.secret has 3 bytes; it must have 32 or more', 'Set SCOPEWIRE_TOKEN_SECRET'];
        yield 'no name of a schema' => [$set(['scopewire.database.schema' => 'a-b']), 'database pgsql: scopewire.database.schema is not a name of a schema: a-b', 'Correct what the message names'];
        yield 'a call without an answer' => [fn () => Http::fake(['*/api/sync/notifications*' => fn () => throw new ConnectionException('timed out')]),
            'tokens: no answer: timed out', 'SCOPEWIRE_TIMEOUT'];
        yield 'nothing listens' => [$set(['scopewire.port' => 1]), 'reachability: no answer', 'Start the daemon (systemctl start scopewire'];
        yield 'another port than the daemon\'s' => [$set(['scopewire.port' => 1]), 'reachability: no answer', 'it listens on REVERB_SERVER_PORT, or 8080'];
        yield 'https to a plain port' => [$set(['scopewire.scheme' => 'https']), 'reachability: no answer', 'Is REVERB_SCHEME right?'];
        yield 'an unknown host' => [$set(['scopewire.host' => 'no-such-host.invalid']), 'reachability: no answer', 'can resolve'];
        yield 'a wrong path' => [$set(['scopewire.path' => '/nowhere']), '/nowhere/up answers 404', 'SCOPEWIRE_PATH'];
        yield 'another clock' => [fn () => Http::fake(['*/up' => Http::response('', 200, ['Date' => gmdate('D, d M Y H:i:s', time() - 900).' GMT'])]),
            'clock: the clocks', 'timedatectl set-ntp true'];
        yield 'a wrong key' => [$set(['scopewire.key' => 'another-key']), 'credentials: the daemon refuses', 'Compare REVERB_APP_KEY'];
        yield 'a wrong secret' => [$set(['scopewire.secret' => 'another-secret']), 'credentials: the daemon refuses', 'Compare REVERB_APP_KEY'];
        yield 'a wrong id' => [$set(['scopewire.app_id' => 'another']), 'the application another', 'REVERB_APP_ID has to be'];
        yield 'a proxy without /api/sync' => [fn () => Http::fake(['*/api/sync/online-users*' => Http::response('<html>', 404, ['Content-Type' => 'text/html'])]),
            'proxy: /api/sync is answered with 404', 'Let the proxy pass /api/sync'];
        yield 'another token secret' => [$set(['scopewire.token.secret' => str_repeat('z', 40)]), 'tokens: the daemon refuses', 'SCOPEWIRE_TOKEN_SECRET'];
        yield 'an origin that is not allowed' => [$set(['app.url' => 'https://portal.example.com']), 'origins: the daemon refuses browsers at https://portal.example.com',
            'Add portal.example.com to allowed_origins'];
        yield 'a connection to SQLite' => [$set(['scopewire.database.connections' => 'sqlite']), 'sqlite is not a PostgreSQL connection', 'SCOPEWIRE_DB_CONNECTIONS'];
        yield 'no such database' => [fn () => self::connect(['database' => 'missing']), 'database other: no connection', 'DB_DATABASE'];
        yield 'no schema' => [$set(['scopewire.database.schema' => 'elsewhere']), 'has no schema elsewhere', 'SCOPEWIRE_DB_SCHEMA'];
        yield 'no rights' => [function () {
            config(['database.connections.superuser' => ['username' => 'postgres'] + self::$daemon->connection()]);
            DB::connection('superuser')->unprepared('CREATE ROLE check_stranger LOGIN');
            self::connect(['username' => 'check_stranger']);
        }, 'the role check_stranger may not publish', 'psql -v role=check_stranger'];
        yield 'no right on resources' => [function () {
            config(['database.connections.superuser' => ['username' => 'postgres'] + self::$daemon->connection()]);
            DB::connection('superuser')->unprepared('CREATE ROLE check_old LOGIN; GRANT USAGE ON SCHEMA scopewire TO check_old;
                GRANT ALL ON ALL TABLES IN SCHEMA scopewire TO check_old; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scopewire TO check_old;
                REVOKE EXECUTE ON FUNCTION scopewire.resource_put(text, text, jsonb, text, text) FROM check_old');
            self::connect(['username' => 'check_old']);
        }, 'the role check_old may not change resources', 'psql -v role=check_old'];
        yield 'the schema in search_path' => [fn () => self::connect(['search_path' => 'public, scopewire']), 'scopewire is in the search_path', 'migrate:fresh drops'];
        yield 'a copy of the database' => [fn () => Http::fake(['*/api/sync/events*' => Http::response('{"events":[]}')]), 'does not arrive in the daemon', 'uses another database'];
    }

    /** @param  array<string, string>  $with */
    private static function connect(array $with): void
    {
        config(['database.connections.other' => $with + self::$daemon->connection(), 'scopewire.database.connections' => 'other']);
    }

    #[DataProvider('broken')]
    #[TestDox('a broken set-up is named with its remedy:')]
    public function test_broken(Closure $break, string $text, string $remedy): void
    {
        $break();
        [$status, $output] = $this->command('scopewire:check');
        $this->assertSame(1, $status, $output);
        $this->assertStringContainsString($text, $output);
        $this->assertStringContainsString($remedy, $output);
        $this->assertSame(1, substr_count($output, 'WRONG'), $output);
        $this->assertStringNotContainsString('portal-secret', $output);
    }

    #[TestDox('a remedy names the variable that is set, SCOPEWIRE_* or REVERB_*')]
    public function test_variables(): void
    {
        config(['scopewire.key' => '']);
        $this->assertStringContainsString('Set REVERB_APP_KEY in .env', $this->command('scopewire:check')[1]);
        $_SERVER['SCOPEWIRE_APP_KEY'] = '';
        try {
            $this->assertStringContainsString('Set SCOPEWIRE_APP_KEY in .env', $this->command('scopewire:check')[1]);
        } finally {
            unset($_SERVER['SCOPEWIRE_APP_KEY']);
        }
        file_put_contents("$this->folder/.env", "REVERB_APP_KEY=k\nSCOPEWIRE_APP_KEY=\n");
        file_put_contents("$this->folder/bootstrap/cache/config.php", '<?php return [];');
        $this->app->instance('config_loaded_from_cache', true);     // what Laravel noted when it started
        $this->assertStringContainsString('Set SCOPEWIRE_APP_KEY in .env', $this->command('scopewire:check')[1]);
    }
}
