<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Illuminate\Support\Facades\Broadcast;
use Illuminate\Support\Facades\DB;
use InvalidArgumentException;
use PHPUnit\Framework\Attributes\TestDox;
use PHPUnit\Framework\Attributes\TestWith;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Services\ChannelAuthorizationService;
use Scopewire\Laravel\Tests\TestCase;

class ChannelsTest extends TestCase
{
    private ChannelAuthorizationService $channels;

    protected function setUp(): void
    {
        parent::setUp();
        $this->channels = Scopewire::channels()->throw()
            ->owner('App.Models.User.{id}', 'id')
            ->anyone('presence.online')
            ->role('admin', ['admin', 'manager'])
            ->sql('client.{id}', 'EXISTS (SELECT FROM client_user WHERE client_id = {id}::bigint AND user_id = {user})', canWrite: true);
    }

    protected function tearDown(): void
    {
        DB::table('scopewire.channel_rules')->delete();
        parent::tearDown();
    }

    #[TestDox('can() and explain() follow the rules')]
    public function test_can(): void
    {
        $this->channels->write();
        $ada = $this->user($this->id());
        $client = $this->id();
        $this->assertTrue($this->channels->can($ada, "private-App.Models.User.$ada->id"));
        $this->assertFalse($this->channels->can($ada, 'private-App.Models.User.1'));
        $this->assertTrue($this->channels->can($ada, 'presence-presence.online'));
        $this->assertTrue($this->channels->can($ada, 'news'));
        $this->assertFalse($this->channels->can($ada, 'private-admin'));
        $ada->roles = ['manager'];
        $this->assertTrue($this->channels->can($ada, 'private-admin'));
        $this->assertFalse($this->channels->can($ada, "private-client.$client"));
        DB::table('client_user')->insert(['client_id' => $client, 'user_id' => $ada->id]);
        $this->assertTrue($this->channels->can($ada, "private-encrypted-client.$client"));
        $this->assertStringContainsString('no rule has a pattern that matches other.1', $this->channels->explain($ada, 'private-other.1')['reason']);
        $this->assertStringContainsString('the rule owner of App.Models.User.{id}',
            $this->channels->explain($ada, "private-App.Models.User.$ada->id")['reason']);
        $this->assertStringContainsString('none of the rules of client.{id}', $this->channels->explain($ada, 'private-client.0')['reason']);
    }

    #[TestDox('the rules are written once, and those that are not defined any more are removed')]
    public function test_write(): void
    {
        $rules = fn () => DB::table('scopewire.channel_rules')->where('app', 'portal')->orderBy('pattern')->pluck('can_write', 'pattern')->all();
        DB::table('scopewire.channel_rules')->insert(['app' => null, 'pattern' => 'mine', 'rule' => 'anyone']);
        $this->assertSame(['added' => 4, 'removed' => 0], $this->channels->write());
        $this->assertSame(['App.Models.User.{id}' => false, 'admin' => false, 'client.{id}' => true, 'presence.online' => false], $rules());
        $this->assertSame(['added' => 0, 'removed' => 0], $this->channels->write());
        DB::table('scopewire.channel_rules')->insert(['app' => 'portal', 'pattern' => 'old', 'rule' => 'anyone']);
        $this->assertSame(['added' => 0, 'removed' => 1], $this->channels->write());
        $this->assertSame(1, DB::table('scopewire.channel_rules')->where('pattern', 'mine')->count());
    }

    #[TestDox('the application\'s /broadcasting/auth follows the same rules')]
    public function test_broadcasting_auth(): void
    {
        $this->channels->write();
        $ada = $this->user($this->id(), 'Ada');
        $ask = fn (string $channel) => $this->actingAs($ada)->post('/broadcasting/auth', ['socket_id' => '1.2', 'channel_name' => $channel]);
        $ask("private-App.Models.User.$ada->id")->assertOk()->assertJsonStructure(['auth']);
        $ask('private-App.Models.User.1')->assertForbidden();
        $data = json_decode($ask('presence-presence.online')->assertOk()->json('channel_data'), true);
        $this->assertSame([(string) $ada->id, ['id' => $ada->id, 'name' => 'Ada']], [(string) $data['user_id'], $data['user_info']]);
        $ask('private-client.1')->assertForbidden();
    }

    #[TestDox('several channels are authorized at once, each as it would be alone')]
    #[TestWith([true])]
    #[TestWith([false])]
    public function test_batch(bool $isJson): void
    {
        $this->channels->write();
        Broadcast::channel('guarded.{id}', fn () => true, ['guards' => ['other']]);
        config(['auth.guards.other' => ['driver' => 'session', 'provider' => 'users']]);
        $ada = $this->user($this->id(), 'Ada');
        $names = ["private-App.Models.User.$ada->id", 'private-admin', 'presence-presence.online', 'private-guarded.1', 'private-none'];
        $body = ['socket_id' => '1.2', 'channel_names' => $names];
        $post = fn (array $body) => $isJson ? $this->actingAs($ada)->postJson('/broadcasting/auth', $body)
            : $this->actingAs($ada)->post('/broadcasting/auth', $body);
        $answers = $post($body)->assertOk()->json('channels');
        $this->assertSame($names, array_keys($answers));
        foreach ($names as $name) {
            $alone = $post(['socket_id' => '1.2', 'channel_name' => $name]);
            $alone->isOk() ? $this->assertSame($alone->json(), $answers[$name]) : $this->assertSame($alone->status(), $answers[$name]['status']);
        }
        $this->assertSame([null, 403, null, 403, 403], array_map(fn ($name) => $answers[$name]['status'] ?? null, $names));
        $post(['socket_id' => '1.2', 'channel_names' => array_map(fn ($n) => "private-$n", range(1, 101))])->assertBadRequest();
        $post(['socket_id' => '1.2', 'channel_names' => 'private-admin'])->assertBadRequest();
    }

    #[TestDox('a rule that cannot match is refused')]
    public function test_impossible(): void
    {
        $this->expectException(InvalidArgumentException::class);
        $this->channels->owner('client.{id}', 'user');
    }
}
