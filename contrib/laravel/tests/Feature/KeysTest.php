<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Support\Facades\DB;
use PHPUnit\Framework\Attributes\TestDox;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Tests\TestCase;

/** An application whose keys are wrong from the start, with rules in routes/channels.php. */
class KeysTest extends TestCase
{
    protected function settings(): array
    {
        return ['scopewire.encryption_master_key' => 'abc', 'scopewire.token.secret' => 'zzz'];
    }

    protected function channels(): string
    {
        return __DIR__.'/../../workbench/routes/channels.php';
    }

    #[TestDox('commands run, and scopewire:check names the keys that are wrong')]
    public function test_commands(): void
    {
        $this->assertSame(0, $this->command('channel:list')[0]);
        [$status, $output] = $this->command('scopewire:check');
        $this->assertSame(1, $status, $output);
        $this->assertStringContainsString('encryption key: scopewire.encryption_master_key is not 32 bytes in base64', $output);
        $this->assertStringContainsString('tokens: scopewire.token.secret has 3 bytes', $output);
        $this->assertSame(2, substr_count($output, 'WRONG'), $output);
        $this->assertStringNotContainsString('zzz', $output);
    }

    #[TestDox('events are sent, but those of encrypted channels, over HTTP and in a transaction')]
    public function test_events(): void
    {
        $channel = 'keys-'.$this->id();
        Scopewire::publish($channel, 'Hello');
        $this->waitFor(fn () => $this->events('Hello', $channel)->first());
        $publish = fn () => Scopewire::publish("private-encrypted-$channel", 'Hello');
        foreach ([$publish, fn () => DB::transaction($publish)] as $call) {
            try {
                $call();
                $this->fail('An encrypted event was sent.');
            } catch (BroadcastException $e) {
                $this->assertStringContainsString('the encryption master key is not 32 bytes in base64', $e->getMessage());
            }
        }
    }

    #[TestDox('the subscription to an encrypted channel is refused with what to do, and the other channels are authorized')]
    public function test_authorization(): void
    {
        $id = $this->id();
        $names = ["private-encrypted-User.$id", "private-User.$id", 'private-encrypted-admin'];
        $this->actingAs($this->user($id));
        $alone = $this->post('/broadcasting/auth', ['socket_id' => '1.1', 'channel_name' => $names[0]]);
        $alone->assertStatus(500);
        $this->assertStringContainsString('the encryption master key is not 32 bytes in base64: set SCOPEWIRE_ENCRYPTION_MASTER_KEY', $this->log());
        $this->assertStringContainsString('openssl rand -base64 32', $this->log());
        file_put_contents("$this->folder/storage/logs/laravel.log", '');

        $answers = $this->post('/broadcasting/auth', ['socket_id' => '1.1', 'channel_names' => $names])->assertOk()->json('channels');
        $this->assertSame(500, $answers[$names[0]]['status']);
        $this->assertStringContainsString('log has the reason', $answers[$names[0]]['message']);
        $this->assertArrayHasKey('auth', $answers[$names[1]]);
        $this->assertSame(403, $answers[$names[2]]['status']);        // no word of keys to users that the rules refuse
        $this->assertStringContainsString('set SCOPEWIRE_ENCRYPTION_MASTER_KEY', $this->log());
    }
}
