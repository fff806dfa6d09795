<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Illuminate\Support\Facades\DB;
use PHPUnit\Framework\Attributes\TestDox;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Tests\TestCase;

class ConsoleTest extends TestCase
{
    private const BOOTSTRAP = "<?php\nreturn Application::configure(basePath: dirname(__DIR__))\n    ->withRouting(\n"
        ."        web: __DIR__.'/../routes/web.php',\n        health: '/up',\n    )->create();\n";

    private function install(string $env): string
    {
        file_put_contents("$this->folder/.env", $env);
        is_file("$this->folder/bootstrap/app.php") || file_put_contents("$this->folder/bootstrap/app.php", self::BOOTSTRAP);
        [$status, $output] = $this->command('scopewire:install', ['--no-interaction' => true]);
        $this->assertSame(0, $status, $output);

        return file_get_contents("$this->folder/.env");
    }

    #[TestDox('scopewire:install adds what is missing, and a second run changes nothing')]
    public function test_install(): void
    {
        $env = $this->install("APP_NAME=Laravel\nDB_CONNECTION=pgsql\nBROADCAST_CONNECTION=log\nREVERB_APP_KEY=\n# a comment\n");
        foreach (['/^APP_NAME=Laravel$/m', '/^# a comment$/m', '/^BROADCAST_CONNECTION=scopewire$/m', '/^SCOPEWIRE_DB_CONNECTIONS=pgsql$/m',
            '/^REVERB_APP_ID=portal$/m', '/^REVERB_APP_KEY=[a-z0-9]{20}$/m', '/^REVERB_APP_SECRET=[a-z0-9]{40}$/m',
            '/^REVERB_PORT=8080$/m', '/^REVERB_SERVER_PORT=8080$/m'] as $line) {
            $this->assertMatchesRegularExpression($line, $env);
        }
        $this->assertFileExists("$this->folder/config/scopewire.php");
        $this->assertFileExists("$this->folder/routes/channels.php");
        $bootstrap = file_get_contents("$this->folder/bootstrap/app.php");
        $this->assertStringContainsString("channels: __DIR__.'/../routes/channels.php',", $bootstrap);
        file_put_contents("$this->folder/routes/channels.php", '<?php // mine');
        $this->assertSame($env, $this->install($env));
        $this->assertSame($bootstrap, file_get_contents("$this->folder/bootstrap/app.php"));
        $this->assertSame('<?php // mine', file_get_contents("$this->folder/routes/channels.php"));
    }

    #[TestDox('scopewire:install keeps the settings of an application that used Reverb')]
    public function test_reverb(): void
    {
        $env = $this->install("DB_CONNECTION=sqlite\nBROADCAST_CONNECTION=reverb\nREVERB_APP_ID=\"1\"\nREVERB_APP_KEY=k\nREVERB_APP_SECRET=s\nREVERB_PORT=443\n");
        foreach (["REVERB_APP_ID=\"1\"\n", "REVERB_APP_KEY=k\n", "REVERB_APP_SECRET=s\n", "BROADCAST_CONNECTION=scopewire\n"] as $line) {
            $this->assertStringContainsString($line, $env);
        }
        $this->assertStringNotContainsString('SCOPEWIRE_DB_CONNECTIONS', $env);
        $this->assertStringNotContainsString('REVERB_SERVER_PORT', $env);
    }

    #[TestDox('scopewire:install prints how to start the daemon for an application without PostgreSQL')]
    public function test_next_steps(): void
    {
        foreach (["DB_CONNECTION=sqlite\n" => 'DB_CONNECTION is sqlite', "APP_NAME=Laravel\n" => 'DB_CONNECTION is not set'] as $env => $text) {
            $this->install($env);
            [, $output] = $this->command('scopewire:install', ['--no-interaction' => true]);
            $this->assertStringContainsString($text, $output);
            $this->assertStringContainsString("scopewired --env-file $this->folder/.env --embedded-postgres DIR", $output);
        }
        $this->install("DB_CONNECTION=pgsql\n");
        $this->assertStringNotContainsString('--embedded-postgres', $this->command('scopewire:install', ['--no-interaction' => true])[1]);
    }

    #[TestDox('the daemon starts with a .env that has the variables of config/scopewire.php')]
    public function test_variables(): void
    {
        preg_match_all("/env\('(SCOPEWIRE_\w+)'/", file_get_contents(__DIR__.'/../../config/scopewire.php'), $found);
        $this->assertGreaterThan(15, count($found[1]));
        file_put_contents("$this->folder/.env", implode('', array_map(fn ($name) => "$name=".str_repeat('a', 40)."\n", $found[1])));
        chmod("$this->folder/.env", 0600);
        exec((getenv('SCOPEWIRED') ?: 'scopewired')." --config /dev/null --env-file $this->folder/.env --check-config 2>&1", $output, $status);
        $this->assertSame(0, $status, implode("\n", $output));
    }

    #[TestDox('scopewire:send broadcasts an event, and scopewire:tail --once prints it')]
    public function test_send_and_tail(): void
    {
        $channel = 'room-'.$this->id();
        [$status] = $this->command('scopewire:send', ['channel' => $channel, 'event' => 'Hello', 'data' => '{"n":1}']);
        $this->assertSame(0, $status);
        $this->waitFor(fn () => $this->events('Hello', $channel)->first());
        [$status, $output] = $this->command('scopewire:tail', ['--channel' => [$channel], '--once' => true]);
        $this->assertSame(0, $status);
        $this->assertMatchesRegularExpression("/^\S+Z \d+ $channel Hello \{\"n\":1\}\$/m", $output);
        $this->assertSame(2, $this->command('scopewire:send', ['channel' => $channel, 'event' => 'Hello', 'data' => '{n'])[0]);
        $this->assertSame(1, $this->command('scopewire:send', ['channel' => 'not a channel', 'event' => 'Hello'])[0]);
    }

    #[TestDox('scopewire:status shows the daemon\'s state, or that it cannot be reached')]
    public function test_status(): void
    {
        Scopewire::presence()->setOnline($this->id());
        [$status, $output] = $this->command('scopewire:status', ['--json' => true]);
        $this->assertSame(0, $status, $output);
        $state = json_decode($output, true);
        $this->assertSame('portal', $state['application']);
        $this->assertGreaterThan(0, $state['users_online']);
        config(['scopewire.port' => 1]);
        $this->app->forgetScopedInstances();
        $this->assertSame(1, $this->command('scopewire:status')[0]);
    }

    #[TestDox('scopewire:rules writes the rules that the application defines')]
    public function test_rules(): void
    {
        Scopewire::channels()->anyone('presence.online');
        [$status, $output] = $this->command('scopewire:rules');
        $this->assertSame(0, $status, $output);
        $this->assertContains('presence.online', DB::table('scopewire.channel_rules')->where('app', 'portal')->pluck('pattern')->all());
        DB::table('scopewire.channel_rules')->delete();
    }

    #[TestDox('scopewire:rules names the owner of the schema only if a right is missing')]
    public function test_rules_refused(): void
    {
        $owner = 'Only the owner of the schema writes rules';
        Scopewire::channels()->sql('wrong.{id}', 'EXISTS (SELECT FROM public.no_such_table)');
        [$status, $output] = $this->command('scopewire:rules');
        $this->assertSame(1, $status);
        $this->assertStringContainsString('no_such_table', $output);
        $this->assertStringNotContainsString($owner, $output);
        config(['database.connections.superuser' => ['username' => 'postgres'] + self::$daemon->connection(),
            'database.connections.stranger' => ['username' => 'rules_stranger'] + self::$daemon->connection()]);
        DB::connection('superuser')->unprepared('CREATE ROLE rules_stranger LOGIN; GRANT USAGE ON SCHEMA scopewire TO rules_stranger');
        [$status, $output] = $this->command('scopewire:rules', ['--connection' => 'stranger']);
        $this->assertSame(1, $status);
        $this->assertStringContainsString($owner, $output);
        DB::disconnect('superuser');
        DB::disconnect('stranger');
    }
}
