<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use App\Models\Note;
use Illuminate\Database\Eloquent\SoftDeletes;
use Illuminate\Support\Facades\Broadcast;
use Illuminate\Support\Facades\DB;
use PHPUnit\Framework\Attributes\TestDox;
use RuntimeException;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Testing\Daemon;
use Scopewire\Laravel\Tests\TestCase;
use Scopewire\Laravel\Tests\WebSocket;

/** A model with SyncsOffline publishes its changes in the transaction that writes them. */
class OfflineTransactionTest extends TestCase
{
    protected function settings(): array
    {
        return ['scopewire.offline' => [Note::class]];
    }

    private function create(int $id, string $title = 'a'): Note
    {
        $note = (new Note(['title' => $title]))->forceFill(['id' => $id]);
        $note->save();

        return $note;
    }

    /** @return array{int, array<string, mixed>|null}|null version and data, by the database */
    private function resource(int $id, string $type = 'note'): ?array
    {
        $row = $this->rows('SELECT version, data FROM scopewire.sync_entity WHERE resource_type = ? AND resource_id = ?', [$type, (string) $id])->first();

        return $row === null ? null : [$row->version, $row->data === null ? null : json_decode($row->data, true)];
    }

    private function tab(string $channel): WebSocket
    {
        return (new WebSocket(self::$daemon->port(), Daemon::KEY))->join($channel, Daemon::KEY, Daemon::SECRET);
    }

    #[TestDox('a commit changes the resource at once, though the daemon answers nothing, and a rollback never')]
    public function test_commit_and_rollback(): void
    {
        [$id, $other] = [$this->id(), $this->id()];
        self::$daemon->freeze();
        try {
            $note = DB::transaction(function () use ($id) {
                $note = $this->create($id);
                $note->update(['title' => 'b']);
                $this->assertNull($this->resource($id));

                return $note;
            });
            $this->assertSame([1, ['title' => 'b']], $this->resource($id));
            DB::beginTransaction();
            $note->update(['title' => 'c']);
            $this->create($other);
            DB::rollBack();
            $this->assertSame([1, ['title' => 'b']], $this->resource($id));
            $this->assertNull($this->resource($other));
            DB::transaction(function () use ($note, $other) {
                $note->refresh()->delete();
                try {
                    DB::transaction(function () use ($other): void {
                        $this->create($other);
                        throw new RuntimeException('the savepoint');
                    });
                } catch (RuntimeException) {
                }
            });
            $this->assertSame([2, null], $this->resource($id));
            $this->assertNull($this->resource($other));
        } finally {
            self::$daemon->thaw();
        }
        $this->waitFor(fn () => $this->events('App\Events\DataChanged', "private-note.$id")->where('serial', '>', 0)->count() === 2,
            'one event for each commit');
        $this->assertSame('', $this->log());
    }

    #[TestDox('a write outside a transaction and its publication are one transaction')]
    public function test_alone(): void
    {
        $id = $this->id();
        $note = $this->create($id);
        $this->assertSame([1, ['title' => 'a']], $this->resource($id));
        $note->update(['title' => 'b']);
        $this->assertSame([2, ['title' => 'b']], $this->resource($id));
        foreach (['saved', 'deleted'] as $event) {
            Note::$event(fn () => throw new RuntimeException('a listener after the publication'));
        }
        foreach ([fn () => $note->update(['title' => 'c']), fn () => $note->delete()] as $write) {
            try {
                $write();
                $this->fail('The listener did not throw.');
            } catch (RuntimeException) {
            }
            $this->assertSame('b', DB::table('notes')->where('id', $id)->value('title'));
            $this->assertSame([2, ['title' => 'b']], $this->resource($id));
            $this->assertSame(0, DB::transactionLevel());
        }
    }

    #[TestDox('all but the tab that the model names receive the event of a change')]
    public function test_tab(): void
    {
        $id = $this->id();
        [$mine, $other] = [$this->tab("private-tab_note.$id"), $this->tab("private-tab_note.$id")];
        request()->headers->set('X-Socket-ID', $mine->socketId);
        $note = (new TabNote(['title' => 'a']))->forceFill(['id' => $id]);
        $note->save();
        $this->assertSame(1, json_decode($other->next('App\Events\DataChanged')['data'], true)['version']);
        request()->headers->remove('X-Socket-ID');
        $note->delete();
        foreach ([$mine, $other] as $socket) {
            $this->assertSame(2, json_decode($socket->next('App\Events\DataChanged')['data'], true)['version']);
        }
    }

    #[TestDox('what is published is the row: a stale object does not bring old values back')]
    public function test_stale(): void
    {
        $id = $this->id();
        $stale = $this->create($id);
        $this->actingAs($this->user($this->id()))->postJson('/scopewire/changes', ['client_id' => 'phone', 'mutations' => [
            ['mutation_id' => 'm1', 'resource_type' => 'note', 'resource_id' => $id, 'op' => 'patch', 'data' => ['title' => 'client'],
                'expected_version' => 1]]])->assertJsonPath('results.0.version', 2);
        $this->assertSame([2, ['title' => 'client']], $this->resource($id), 'published once');
        $stale->forceFill(['user_id' => 7])->save();
        $this->assertSame([3, ['title' => 'client']], $this->resource($id));
    }

    #[TestDox('a client\'s change that meets an open transaction of another writer is a conflict; nothing is lost')]
    public function test_second_writer(): void
    {
        $id = $this->id();
        $this->create($id);
        $at = self::$daemon->connection();
        $writer = proc_open([PHP_BINARY, '-r', <<<'PHP'
            $pdo = new PDO($argv[1], $argv[2], null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
            $pdo->exec("BEGIN; UPDATE public.notes SET title = 'writer' WHERE id = $argv[3];
                SELECT scopewire.resource_put('note', '$argv[3]', '{\"title\":\"writer\"}', 'portal')");
            echo "open\n";
            for ($end = microtime(true) + 60; microtime(true) < $end; usleep(10000)) {
                if ($pdo->query('SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))')->fetchColumn() > 0) {
                    $pdo->exec('COMMIT');
                    exit("waited for\n");
                }
            }
            PHP, "pgsql:host={$at['host']};port={$at['port']};dbname={$at['database']}", $at['username'], (string) $id],
            [1 => ['pipe', 'w'], 2 => STDERR], $pipes);
        $this->assertSame("open\n", fgets($pipes[1]));
        $user = $this->user($this->id());
        $send = fn (string $name, int $version) => $this->actingAs($user)->postJson('/scopewire/changes', ['client_id' => 'phone', 'mutations' => [
            ['mutation_id' => $name, 'resource_type' => 'note', 'resource_id' => $id, 'op' => 'patch', 'data' => ['title' => $name],
                'expected_version' => $version]]])->json('results.0');
        $refused = $send('first', 1);
        $this->assertSame("waited for\n", fgets($pipes[1]));
        proc_close($writer);
        $this->assertSame([409, 2, ['title' => 'writer']], [$refused['status'], $refused['current']['version'] ?? null, $refused['current']['data'] ?? null]);
        $this->assertSame('writer', Note::find($id)->title);
        $this->assertSame(200, $send('second', 2)['status']);
        $this->assertSame(['second', [3, ['title' => 'second']]], [Note::find($id)->title, $this->resource($id)]);
    }

    #[TestDox('a change that the daemon\'s rules refuse is logged, and the write is kept; with throw it is undone')]
    public function test_refused(): void
    {
        $id = $this->id();
        $note = $this->create($id);
        DB::transaction(fn () => $note->update(['title' => str_repeat('x', 70000)]) && $this->create($id + 1));
        $this->assertSame([70000, [1, ['title' => 'a']], [1, ['title' => 'a']]],
            [strlen(Note::find($id)->title), $this->resource($id), $this->resource($id + 1)]);
        $this->assertMatchesRegularExpression('/publish note:'.$id.': .*a resource may have 65536/', $this->log());
        config(['scopewire.throw' => true]);
        $this->refreshApplicationServices();
        try {
            $note->update(['title' => str_repeat('y', 70000)]);
            $this->fail('It was not refused.');
        } catch (ScopewireException $e) {
            $this->assertStringContainsString('a resource may have 65536', $e->getMessage());
        }
        $this->assertSame('x', Note::find($id)->title[0]);
    }

    private function refreshApplicationServices(): void
    {
        $this->app->forgetInstance(\Scopewire\Laravel\Client::class);
    }

    #[TestDox('publish() in a transaction has no version; a connection that is not named publishes over HTTP after the commit')]
    public function test_service(): void
    {
        [$id, $other] = [$this->id(), $this->id()];
        $note = Note::withoutEvents(fn () => $this->create($id));
        $this->assertSame(1, Scopewire::data()->publish($note));
        DB::transaction(fn () => $this->assertNull(Scopewire::data()->publish($note, ['title' => 'other'])));
        $this->assertSame([2, ['title' => 'other']], $this->resource($id));
        DB::transaction(fn () => $this->assertNull(Scopewire::data()->publishDeletion($note)));
        $this->assertSame([3, null], $this->resource($id));
        config(['scopewire.database.connections' => '']);
        DB::transaction(function () use ($other): void {
            $this->create($other);
            $this->assertSame([], $this->rows('SELECT FROM scopewire.sync_pending WHERE resource_id = ?', [(string) $other])->all());
        });
        $this->assertSame([1, ['title' => 'a']], $this->resource($other));
        $client = $this->rows('SELECT client_id FROM scopewire.sync_change WHERE resource_id = ?', [(string) $other])->first();
        $this->assertSame('laravel', $client->client_id);
    }

    #[TestDox('a model that was deleted softly stays deleted for clients until it is restored')]
    public function test_soft_deletes(): void
    {
        $id = $this->id();
        $note = (new SoftNote(['title' => 'a']))->forceFill(['id' => $id]);
        $note->save();
        $note->delete();
        $this->assertSame([2, null], $this->resource($id, 'soft_note'));
        $note->update(['title' => 'b']);
        $this->assertNull($this->resource($id, 'soft_note')[1]);
        $note->restore();
        $this->assertSame([3, ['title' => 'b']], $this->resource($id, 'soft_note'));
    }
}

class TabNote extends Note
{
    protected $table = 'notes';

    protected function syncSocket(): ?string
    {
        return Broadcast::socket();
    }
}

class SoftNote extends Note
{
    use SoftDeletes;

    public const DELETED_AT = 'updated_at';

    public $timestamps = false;

    protected $table = 'notes';
}
