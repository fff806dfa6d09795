<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\EncryptedPrivateChannel;
use Illuminate\Broadcasting\InteractsWithSockets;
use Illuminate\Contracts\Broadcasting\ShouldBroadcast;
use Illuminate\Contracts\Broadcasting\ShouldBroadcastNow;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Foundation\Queue\Queueable;
use Illuminate\Support\Facades\DB;
use PHPUnit\Framework\Attributes\TestDox;
use PHPUnit\Framework\Attributes\TestWith;
use Pusher\PusherCrypto;
use RuntimeException;
use Scopewire\Laravel\Broadcasting\BroadcastsInTransaction;
use Scopewire\Laravel\Testing\Daemon;
use Scopewire\Laravel\Tests\TestCase;
use Scopewire\Laravel\Tests\WebSocket;

class BroadcastTest extends TestCase
{
    private string $channel;

    protected function setUp(): void
    {
        parent::setUp();
        $this->channel = 'room-'.$this->id();
        DB::table('jobs')->delete();
        config(['database.connections.tenant' => self::$daemon->connection()]);
    }

    private function socket(): WebSocket
    {
        return (new WebSocket(self::$daemon->port(), Daemon::KEY))->subscribe($this->channel);
    }

    private function happen(mixed $n, Channel|string|null $on = null): void
    {
        event(new Happened($n, [$on ?? new Channel($this->channel)]));
    }

    /** @return list<mixed> what was published, when an event that is sent last has come */
    private function published(): array
    {
        $this->happen('last');
        $this->waitFor(fn () => $this->events(Happened::class, $this->channel)->last()?->payload === '{"n":"last"}');

        return $this->events(Happened::class, $this->channel)->slice(0, -1)
            ->map(fn ($e) => json_decode($e->payload, true)['n'])->values()->all();
    }

    #[TestDox('outside of a transaction an event is sent at once, and received')]
    public function test_http(): void
    {
        $socket = $this->socket();
        $statements = 0;
        DB::listen(function () use (&$statements) {
            $statements++;
        });
        $this->happen(['text' => 'Grüße / 🎉']);
        $this->assertSame(['n' => ['text' => 'Grüße / 🎉']], json_decode($socket->next(Happened::class)['data'], true));
        $this->assertSame(0, $statements);
    }

    #[TestDox('in a transaction an event is delivered if the transaction commits')]
    public function test_commit(): void
    {
        $socket = $this->socket();
        DB::transaction(fn () => $this->happen('kept'));
        $this->assertSame(['n' => 'kept'], json_decode($socket->next(Happened::class)['data'], true));
        DB::beginTransaction();
        $this->happen('dropped');
        DB::rollBack();
        $this->assertSame(['kept'], $this->published());
    }

    #[TestDox('in nested transactions an event exists if all of them commit, up to the savepoint')]
    public function test_nested(): void
    {
        DB::transaction(function () {
            $this->happen('outer');
            DB::transaction(fn () => $this->happen('inner'));
            try {
                DB::transaction(function () {
                    $this->happen('undone');
                    DB::transaction(fn () => $this->happen('deeper'));
                    throw new RuntimeException('no');
                });
            } catch (RuntimeException) {
            }
            $this->happen('end');
        });
        $this->assertSame(['outer', 'inner', 'end'], $this->published());
    }

    #[TestDox('many channels are one statement, and one row each')]
    public function test_many_channels(): void
    {
        $statements = [];
        DB::listen(function ($query) use (&$statements) {
            $statements[] = $query->sql;
        });
        $channels = array_map(fn ($n) => new Channel("$this->channel-$n"), range(1, 250));
        DB::transaction(fn () => event(new Happened(1, [...$channels, $channels[0]])));
        $this->assertCount(1, array_filter($statements, fn ($sql) => str_contains($sql, 'broadcast')));
        $count = fn () => $this->rows('SELECT count(*) AS n, count(DISTINCT channel) AS c FROM scopewire.realtime_events
            WHERE channel LIKE ?', ["$this->channel-%"])[0];
        $this->assertEquals((object) ['n' => 250, 'c' => 250], $this->waitFor(fn () => $count()->n ? $count() : null));
        event(new Happened(2, $channels));
        $this->assertEquals((object) ['n' => 500, 'c' => 250], $this->waitFor(fn () => $count()->n > 250 ? $count() : null));
    }

    #[TestDox('toOthers() leaves out the sender, in a transaction and outside')]
    #[TestWith([true])]
    #[TestWith([false])]
    public function test_to_others(bool $isInTransaction): void
    {
        [$mine, $other] = [$this->socket(), $this->socket()];
        request()->headers->set('X-Socket-ID', $mine->socketId);
        $send = fn () => broadcast(new Happened('for others', [new Channel($this->channel)]))->toOthers();
        $isInTransaction ? DB::transaction(function () use ($send) {
            $send();
        }) : $send();
        $this->assertSame('{"n":"for others"}', $other->next(Happened::class)['data']);
        $this->happen('for all');
        $this->assertSame('{"n":"for all"}', $mine->next(Happened::class)['data']);
    }

    #[TestDox('events of encrypted channels are encrypted with the key of their channel')]
    #[TestWith([true])]
    #[TestWith([false])]
    public function test_encrypted(bool $isInTransaction): void
    {
        $names = ["private-encrypted-a-$this->channel", "private-encrypted-b-$this->channel"];
        $channels = [new EncryptedPrivateChannel("a-$this->channel"), new EncryptedPrivateChannel("b-$this->channel"),
            new Channel($this->channel)];
        $send = fn () => event(new Happened('secret', $channels));
        $isInTransaction ? DB::transaction($send) : $send();
        foreach ($names as $name) {
            $row = $this->waitFor(fn () => $this->events(Happened::class, $name)->first());
            $this->assertStringNotContainsString('secret', $row->payload);
            $box = json_decode($row->payload);
            $key = (new PusherCrypto(str_repeat('k', 32)))->generate_shared_secret($name);
            $this->assertSame('{"n":"secret"}', sodium_crypto_secretbox_open(
                base64_decode($box->ciphertext), base64_decode($box->nonce), $key));
        }
        $plain = $this->waitFor(fn () => $this->events(Happened::class, $this->channel)->first());
        $this->assertSame('{"n":"secret"}', $plain->payload);
    }

    #[TestDox('a refused event is an exception, and the transaction can go on')]
    #[TestWith([true])]
    #[TestWith([false])]
    public function test_refused(bool $isInTransaction): void
    {
        $refused = 0;
        $send = function () use (&$refused) {
            try {
                $this->happen(str_repeat('x', 20000));
            } catch (BroadcastException $e) {
                $refused++;
                $this->assertStringContainsString('10240', $e->getMessage());
            }
            $this->happen('after it');
        };
        $isInTransaction ? DB::transaction($send) : $send();
        $this->assertSame(1, $refused);
        $this->assertSame(['after it'], $this->published());
    }

    #[TestDox('a daemon that does not answer is an exception after the timeout')]
    public function test_timeout(): void
    {
        $silent = stream_socket_server('tcp://127.0.0.1:0');
        config(['scopewire.port' => (int) substr(strrchr(stream_socket_get_name($silent, false), ':'), 1),
            'scopewire.timeout' => 0.2]);
        $this->expectException(BroadcastException::class);
        $this->expectExceptionMessageMatches('/timed out after \d{3,4} milliseconds/');
        $this->happen(1);
    }

    #[TestDox('an event for the queue goes out from the job; BroadcastsInTransaction needs no queue')]
    public function test_queue(): void
    {
        config(['queue.default' => 'database']);
        DB::transaction(function () {
            event(new HappenedQueued('queued', [new Channel($this->channel)]));
            event(new HappenedInTransaction('written', [new Channel($this->channel)]));
        });
        $this->assertSame(1, DB::table('jobs')->count());
        $this->waitFor(fn () => $this->events(HappenedInTransaction::class, $this->channel)->count() === 1);
        $this->assertCount(0, $this->events(HappenedQueued::class, $this->channel));
        $this->command('queue:work', ['--once' => true]);
        $this->waitFor(fn () => $this->events(HappenedQueued::class, $this->channel)->count() === 1);

        DB::beginTransaction();
        event(new HappenedInTransaction('dropped', [new Channel($this->channel)]));
        DB::rollBack();
        $this->published();
        $this->assertCount(1, $this->events(HappenedInTransaction::class, $this->channel));
    }

    #[TestDox('a retried job does not send its events twice')]
    #[TestWith([false, false])]
    #[TestWith([true, false])]
    #[TestWith([false, true])]
    public function test_retry(bool $isInTransaction, bool $hasOtherContent): void
    {
        config(['queue.default' => 'database']);
        cache()->forever('content', 'first');
        dispatch(new SendsAndFailsOnce($this->channel, $isInTransaction));
        $this->command('queue:work', ['--once' => true]);
        $this->assertSame(1, DB::table('jobs')->count(), 'the job waits for its second attempt');
        if ($hasOtherContent) {
            cache()->forever('content', 'second');
        }
        $this->command('queue:work', ['--once' => true]);
        $this->assertSame(0, DB::table('jobs')->count());
        $this->assertSame(0, DB::table('failed_jobs')->count());
        $this->assertSame(['one first', 'two first', 'second attempt'], $this->published());
    }

    #[TestDox('a transaction of another named connection counts, one of a connection that is not named does not')]
    public function test_connections(): void
    {
        $tenant = DB::connection('tenant');
        $tenant->beginTransaction();
        $this->happen('over HTTP');
        $tenant->rollBack();
        config(['scopewire.database.connections' => ['pgsql', 'tenant']]);
        $tenant->beginTransaction();
        $this->happen('dropped');
        $tenant->rollBack();
        $tenant->transaction(fn () => $this->happen('written'));
        $tenant->disconnect();
        $this->assertSame(['over HTTP', 'written'], $this->published());
    }
}

class Happened implements ShouldBroadcastNow
{
    use InteractsWithSockets;

    /** @param  list<Channel|string>  $channels */
    public function __construct(public mixed $n, protected array $channels)
    {
    }

    /** @return list<Channel|string> */
    public function broadcastOn(): array
    {
        return $this->channels;
    }

    /** @return array<string, mixed> */
    public function broadcastWith(): array
    {
        return ['n' => $this->n];
    }
}

class HappenedInTransaction extends Happened implements BroadcastsInTransaction
{
}

class HappenedQueued implements ShouldBroadcast
{
    /** @param  list<Channel>  $channels */
    public function __construct(public mixed $n, protected array $channels)
    {
    }

    /** @return list<Channel> */
    public function broadcastOn(): array
    {
        return $this->channels;
    }
}

class SendsAndFailsOnce implements ShouldQueue
{
    use Queueable;

    public int $tries = 2;

    public function __construct(private string $channel, private bool $isInTransaction)
    {
    }

    public function handle(): void
    {
        $content = cache('content');
        $send = fn () => array_map(fn ($n) => event(new Happened("$n $content", [new Channel($this->channel)])), ['one', 'two']);
        $this->isInTransaction ? DB::transaction($send) : $send();
        if ($this->attempts() === 1) {
            throw new RuntimeException('the first attempt fails');
        }
        event(new Happened('second attempt', [new Channel($this->channel)]));
    }
}
