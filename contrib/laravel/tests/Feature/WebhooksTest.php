<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Illuminate\Support\Facades\Event;
use Illuminate\Support\Facades\Http;
use Illuminate\Testing\TestResponse;
use PHPUnit\Framework\Attributes\TestDox;
use RuntimeException;
use Scopewire\Laravel\Testing\Daemon;
use Scopewire\Laravel\Tests\TestCase;
use Scopewire\Laravel\Tests\WebSocket;
use Scopewire\Laravel\Webhooks;

class WebhooksTest extends TestCase
{
    /** What a daemon of this test sent, request by request, to the route. */
    private function receive(string $line): TestResponse
    {
        $request = json_decode($line, true);

        return $this->send($request['body'], $request['signature'], $request['key']);
    }

    private function send(string $body, string $signature, string $key = Daemon::KEY): TestResponse
    {
        return $this->call('POST', '/scopewire/webhooks', server: ['CONTENT_TYPE' => 'application/json',
            'HTTP_X_PUSHER_KEY' => $key, 'HTTP_X_PUSHER_SIGNATURE' => $signature], content: $body);
    }

    /** A body of this moment. */
    private function body(string $events): string
    {
        return '{"time_ms":'.now()->getTimestampMs().",\"events\":$events}";
    }

    /** @return list<array{resource, array<int, resource>}> */
    private function startReceiver(int $port): array
    {
        $process = proc_open([PHP_BINARY, '-S', "127.0.0.1:$port", dirname(__DIR__).'/receiver.php'],
            [1 => ['file', '/dev/null', 'w'], 2 => ['file', '/dev/null', 'w']], $pipes, null,
            ['RECEIVED' => "$this->folder/received"]);
        $this->waitFor(fn () => @stream_socket_client("tcp://127.0.0.1:$port"));

        return [$process, $pipes];
    }

    /** @return list<string> the requests, without one that is being written */
    private function received(): array
    {
        return array_slice(explode("\n", (string) @file_get_contents("$this->folder/received")), 0, -1);
    }

    /**
     * Below the range from which the kernel chooses, and reserved by a folder until the end, as for the other tests of
     * this machine: another program can take one of the kernel's before the receiver has it.
     */
    private function freePort(): int
    {
        while (true) {
            $port = random_int(20_000, 31_999);
            $reservation = sys_get_temp_dir()."/sw-port-$port";
            if (! @mkdir($reservation)) {
                continue;
            }
            register_shutdown_function(fn () => @rmdir($reservation));
            if ($server = @stream_socket_server("tcp://127.0.0.1:$port")) {
                fclose($server);

                return $port;
            }
        }
    }

    #[TestDox('each kind of webhook of the daemon becomes an event of Laravel')]
    public function test_real_webhooks(): void
    {
        $port = $this->freePort();
        [$receiver] = $this->startReceiver($port);
        $daemon = Daemon::start(['webhooks' => ['smoothing_ms' => 100, 'undelivered_s' => 1],
            'app '.Daemon::APP_ID => ['webhooks' => '[{"url": "http://127.0.0.1:'.$port.'/in"}]']]);
        try {
            $this->makeEverythingHappen($daemon);
            $kinds = [Webhooks\ChannelOccupied::class, Webhooks\ChannelVacated::class, Webhooks\MemberAdded::class,
                Webhooks\MemberRemoved::class, Webhooks\ClientEvent::class, Webhooks\CacheMiss::class,
                Webhooks\SubscriptionCount::class, Webhooks\NotificationUndelivered::class];
            Event::fake($kinds);
            $done = 0;
            $this->waitFor(function () use ($kinds, &$done): bool {
                $lines = $this->received();
                foreach (array_slice($lines, $done) as $line) {
                    $this->receive($line)->assertOk();
                }
                $done = count($lines);

                return array_filter($kinds, fn ($kind) => Event::dispatched($kind)->isEmpty()) === [];
            });
        } finally {
            proc_terminate($receiver);
            proc_close($receiver);
            $daemon->stop();
        }
        Event::assertDispatched(Webhooks\ChannelOccupied::class, fn ($e) => $e->channel === 'presence-desk' && $e->timeMs > 0);
        Event::assertDispatched(Webhooks\ChannelVacated::class, fn ($e) => $e->channel === 'presence-desk');
        Event::assertDispatched(Webhooks\MemberAdded::class, fn ($e) => $e->userId() === '7');
        Event::assertDispatched(Webhooks\MemberRemoved::class, fn ($e) => $e->channel === 'presence-desk' && $e->userId() === '7');
        Event::assertDispatched(Webhooks\ClientEvent::class, fn ($e) => [$e->event(), $e->data(), $e->userId()]
            === ['client-move', ['x' => 1], '7'] && $e->socketId() !== null);
        Event::assertDispatched(Webhooks\CacheMiss::class, fn ($e) => $e->channel === 'cache-weather');
        Event::assertDispatched(Webhooks\SubscriptionCount::class, fn ($e) => $e->channel === 'news' && $e->count() === 1);
        Event::assertDispatched(Webhooks\NotificationUndelivered::class, fn ($e) => $e->userId() === '8'
            && $e->notification()['title'] === 'Due' && $e->channel === 'private-App.Models.User.8');
    }

    private function makeEverythingHappen(Daemon $daemon): void
    {
        $socket = new WebSocket($daemon->port(), Daemon::KEY);
        $member = '{"user_id":"7"}';
        $socket->subscribe('presence-desk', ['channel_data' => $member, 'auth' => Daemon::KEY.':'
            .hash_hmac('sha256', "$socket->socketId:presence-desk:$member", Daemon::SECRET)]);
        $socket->trigger('presence-desk', 'client-move', ['x' => 1]);
        $socket->subscribe('cache-weather');
        $socket->subscribe('news');
        Http::withBasicAuth(Daemon::KEY, Daemon::SECRET)->post("http://127.0.0.1:{$daemon->port()}/api/sync/notifications",
            ['to' => 8, 'title' => 'Due'])->throw();
        // What ends before it was reported is not reported.
        $arrivals = ['client_event', 'member_added', 'cache_miss', 'subscription_count', '"news'];
        $this->waitFor(fn () => array_filter($arrivals,
            fn ($name) => ! str_contains(stripslashes(implode('', $this->received())), $name)) === []);
        $socket->close();
    }

    #[TestDox('a request with another signature or key is refused, and nothing happens')]
    public function test_signature(): void
    {
        Event::fake([Webhooks\ChannelOccupied::class]);
        $body = $this->body('[{"name":"channel_occupied","channel":"x"}]');
        $signature = hash_hmac('sha256', $body, Daemon::SECRET);
        $this->send($body, hash_hmac('sha256', $body, 'other'))->assertStatus(401);
        $this->send("$body ", $signature)->assertStatus(401);
        $this->send($body, $signature, 'other')->assertStatus(401);
        $this->send($body, '')->assertStatus(401);
        Event::assertNotDispatched(Webhooks\ChannelOccupied::class);
        $this->send($body, $signature)->assertOk()->assertJson(['received' => 1]);
        Event::assertDispatchedTimes(Webhooks\ChannelOccupied::class, 1);
    }

    #[TestDox('an unknown event is left out; a body without events is refused')]
    public function test_unknown(): void
    {
        $sign = fn (string $body) => $this->send($body, hash_hmac('sha256', $body, Daemon::SECRET));
        $sign($this->body('[{"name":"of_tomorrow","channel":"x"},7]'))->assertOk();
        $sign('{"time_ms":1}')->assertStatus(400);
        $sign('[')->assertStatus(400);
    }

    #[TestDox('a request that is repeated later is refused, and nothing happens')]
    public function test_replay(): void
    {
        Event::fake([Webhooks\ChannelOccupied::class]);
        $send = fn (string $body) => $this->send($body, hash_hmac('sha256', $body, Daemon::SECRET));
        $body = $this->body('[{"name":"channel_occupied","channel":"x"}]');
        $this->travel(301)->seconds();
        $send($body)->assertStatus(401);
        $this->travel(-602)->seconds();
        $send($body)->assertStatus(401);
        $send('{"events":[{"name":"channel_occupied","channel":"x"}]}')->assertStatus(401);
        Event::assertNotDispatched(Webhooks\ChannelOccupied::class);
        config(['scopewire.webhooks.max_age' => 900]);
        $send($body)->assertOk();
        config(['scopewire.webhooks.max_age' => 0]);
        $send('{"time_ms":1,"events":[{"name":"channel_occupied","channel":"x"}]}')->assertOk();
        Event::assertDispatchedTimes(Webhooks\ChannelOccupied::class, 2);
    }

    #[TestDox('a listener that fails makes the daemon send the request again')]
    public function test_failing_listener(): void
    {
        Event::listen(Webhooks\ChannelVacated::class, fn () => throw new RuntimeException('not now'));
        $body = $this->body('[{"name":"channel_vacated","channel":"x"}]');
        $this->send($body, hash_hmac('sha256', $body, Daemon::SECRET))->assertStatus(500);
    }
}
