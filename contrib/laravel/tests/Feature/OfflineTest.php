<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use App\Models\Note;
use App\Models\User;
use Illuminate\Support\Facades\DB;
use PHPUnit\Framework\Attributes\TestDox;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Tests\TestCase;

class OfflineTest extends TestCase
{
    private User $ada;

    protected function settings(): array
    {
        return ['scopewire.offline' => [Note::class], 'scopewire.throw' => true];
    }

    protected function setUp(): void
    {
        parent::setUp();
        $this->ada = $this->user($this->id());
    }

    /**
     * @param array<string, mixed> $more
     * @return array<string, mixed>
     */
    private function mutation(int $id, array $more = []): array
    {
        return $more + ['mutation_id' => uniqid('m'), 'resource_type' => 'note', 'resource_id' => $id, 'op' => 'upsert',
            'data' => ['title' => 'new'], 'expected_version' => 0];
    }

    /**
     * @param array<string, mixed> ...$mutations
     * @return list<array<string, mixed>>
     */
    private function send(array ...$mutations): array
    {
        return $this->actingAs($this->ada)->postJson('/scopewire/changes', ['client_id' => 'phone', 'mutations' => $mutations])
            ->assertOk()->json('results');
    }

    private function version(int $id): int
    {
        return Scopewire::data()->versions(["note:$id"])["note:$id"];
    }

    #[TestDox('what is saved or deleted is published when the transaction has committed, or never')]
    public function test_observer(): void
    {
        [$id, $other] = [$this->id(), $this->id()];
        $note = DB::transaction(function () use ($id) {
            $note = (new Note(['title' => 'a']))->forceFill(['id' => $id]);
            $note->save();
            $this->assertSame(0, $this->version($id));

            return $note;
        });
        $this->assertSame(1, $this->version($id));
        $note->update(['title' => 'b']);
        $this->assertSame(2, $this->version($id));
        $note->delete();
        $this->assertSame(3, $this->version($id));
        DB::beginTransaction();
        (new Note(['title' => 'a']))->forceFill(['id' => $other])->save();
        DB::rollBack();
        $this->assertSame(0, $this->version($other));
    }

    #[TestDox('a client\'s change is saved in the model, once, with the version of the daemon')]
    public function test_incoming(): void
    {
        $id = $this->id();
        $mutation = $this->mutation($id);
        $this->assertSame([200, 1], array_values(array_intersect_key($this->send($mutation)[0], ['status' => 1, 'version' => 1])));
        $this->assertSame('new', Note::find($id)->title);
        $this->assertSame(1, $this->version($id));
        $this->assertTrue($this->send($mutation)[0]['repeated']);
        [$patched] = $this->send($this->mutation($id, ['op' => 'patch', 'data' => ['title' => 'patched'], 'expected_version' => 1]));
        $this->assertSame(200, $patched['status'], json_encode($patched));
        $this->assertSame('patched', Note::find($id)->title);
        $this->assertSame(200, $this->send($this->mutation($id, ['op' => 'delete', 'expected_version' => 2, 'data' => null]))[0]['status']);
        $this->assertNull(Note::find($id));
    }

    #[TestDox('what the database does not accept is refused, and the others of the batch are saved')]
    public function test_database(): void
    {
        $id = $this->id();
        DB::statement("ALTER TABLE public.notes ADD CONSTRAINT notes_title CHECK (title <> 'closed')");
        try {
            [$refused, $done] = $this->send($this->mutation($id, ['data' => ['title' => 'closed']]), $this->mutation($id + 1));
        } finally {
            DB::statement('ALTER TABLE public.notes DROP CONSTRAINT notes_title');
        }
        $this->assertSame([422, 'invalid_data', 200], [$refused['status'], $refused['error']['code'], $done['status']]);
        $this->assertSame([0, 0, 1], [DB::transactionLevel(), $this->version($id), $this->version($id + 1)]);
    }

    #[TestDox('a key in another notation is not another resource of the same model, and what is no key is refused')]
    public function test_keys(): void
    {
        $id = $this->id();
        (new Note(['title' => 'old']))->forceFill(['id' => $id, 'user_id' => 0])->save();
        foreach (["0$id", "+$id", "$id.0", 'abc', '', '99999999999999999999', [$id], 1.5, null] as $other) {
            [$result, $valid] = $this->send($this->mutation($id, ['resource_id' => $other]), $this->mutation($id + 1, ['op' => 'patch']));
            $this->assertSame([400, 'resource_id'], [$result['status'], $result['error']['field'] ?? null], json_encode($other));
            $this->assertSame(409, $valid['status'], json_encode($valid));
        }
        foreach (['resource_type', 'op'] as $field) {
            $this->assertSame([400, $field], [($result = $this->send($this->mutation($id, [$field => ['note']]))[0])['status'], $result['error']['field']]);
        }
        $this->assertSame('old', Note::find($id)->title);
        $this->assertNull(Note::find($id + 1));
    }

    #[TestDox('what the daemon, the policy or the validation rejects is not saved')]
    public function test_rejected(): void
    {
        $id = $this->id();
        (new Note(['title' => 'old']))->forceFill(['id' => $id, 'user_id' => 0])->save();
        $results = $this->send($this->mutation($id), $this->mutation($id, ['expected_version' => 1]));
        $this->assertSame([409, 409], array_column($results, 'status'));
        $bad = [
            'invalid_value' => $this->mutation($id, ['data' => ['title' => str_repeat('x', 21)], 'expected_version' => 1]),
            'unknown_field' => $this->mutation($id, ['data' => ['title' => 'x', 'user_id' => 7], 'expected_version' => 1]),
        ];
        foreach ($bad as $code => $mutation) {
            $this->assertSame([400, $code], [($result = $this->send($mutation)[0])['status'], $result['error']['code']]);
        }
        $this->assertSame(400, $this->send($this->mutation($id, ['resource_type' => 'invoice']))[0]['status']);
        DB::table('notes')->where('id', $id)->update(['user_id' => 1]);
        $this->assertSame(403, $this->send($this->mutation($id, ['expected_version' => 1]))[0]['status']);
        $this->assertSame('old', Note::find($id)->title);
        $this->assertSame(1, $this->version($id));
        auth()->logout();
        $this->postJson('/scopewire/changes', ['client_id' => 'phone', 'mutations' => [$this->mutation($id)]])->assertUnauthorized();
    }
}
