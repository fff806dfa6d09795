<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Illuminate\Support\Facades\Blade;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Http;
use PHPUnit\Framework\Attributes\TestDox;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Testing\Daemon;
use Scopewire\Laravel\Tests\TestCase;
use Scopewire\Laravel\Tests\WebSocket;

class TokenTest extends TestCase
{
    private function statusWith(string $token): int
    {
        return Http::withToken($token)->get('http://127.0.0.1:'.self::$daemon->port().'/api/sync/notifications')->status();
    }

    #[TestDox('the daemon accepts a token, for its user, until it expires')]
    public function test_token(): void
    {
        $ada = $this->user($this->id(), str_repeat('Ä', 200));
        $ada->avatar = str_repeat('x', 3000);
        $this->assertSame(200, $this->statusWith(Scopewire::token($ada)));
        $this->assertSame(200, $this->statusWith(Scopewire::token($ada->id, 60)));
        $this->assertSame(401, $this->statusWith(Scopewire::token($ada, -60)));
        config(['scopewire.token.secret' => str_repeat('z', 40)]);
        $this->assertSame(401, $this->statusWith(Scopewire::token($ada)));
    }

    #[TestDox('with a token a browser joins the channels of the rules, as its roles allow')]
    public function test_join(): void
    {
        DB::table('scopewire.channel_rules')->insert(['app' => 'portal', 'pattern' => 'admin', 'rule' => 'role', 'argument' => 'admin']);
        $ada = $this->user($this->id(), 'Ada');
        $ada->roles = ['admin'];
        $socket = new WebSocket(self::$daemon->port(), Daemon::KEY);
        $auth = Http::withToken(Scopewire::token($ada))->post('http://127.0.0.1:'.self::$daemon->port().'/broadcasting/auth',
            ['socket_id' => $socket->socketId, 'channel_name' => 'private-admin']);
        $this->assertSame(200, $auth->status(), $auth->body());
        $socket->subscribe('private-admin', $auth->json());
        DB::table('scopewire.channel_rules')->delete();
    }

    #[TestDox('the route gives the user that is signed in a new token, and guests none')]
    public function test_route(): void
    {
        $this->getJson('/scopewire/token')->assertUnauthorized();
        $answer = $this->actingAs($this->user($this->id()))->getJson('/scopewire/token')->assertOk()->assertJsonPath('expires_in', 3600);
        $this->assertStringContainsString('no-store', (string) $answer->headers->get('Cache-Control'));
        $this->assertSame(200, $this->statusWith($answer->json('token')));
    }

    #[TestDox('@scopewireToken puts the token and the route into a page')]
    public function test_directive(): void
    {
        $this->assertSame('<head></head>', Blade::render('<head>@scopewireToken</head>'));
        $this->actingAs($this->user($this->id()));
        $page = Blade::render('<head>@scopewireToken</head>');
        $this->assertMatchesRegularExpression('#<meta name="scopewire-token" content="([\w.-]+)"><meta name="scopewire-token-url" content="/scopewire/token">#', $page);
        preg_match('/content="([^"]+)"/', $page, $found);
        $this->assertSame(200, $this->statusWith($found[1]));
    }
}
