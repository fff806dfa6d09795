<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Services;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Support\Collection;
use Illuminate\Support\Str;
use Scopewire\Laravel\Client;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Support\Database;
use Scopewire\Laravel\Support\Resource;
use Scopewire\Laravel\Support\Users;

/** JSON objects with versions, for clients that are not always connected. */
class DataSyncService extends Service
{
    public function __construct(Client $client, Users $users, private readonly Database $database)
    {
        parent::__construct($client, $users);
    }

    /**
     * Versions of resources, given as models or as "type:id"; 0: it never existed.
     *
     * @param iterable<Model|string> $resources
     * @return Collection<string, int> by "type:id"; empty on failure
     */
    public function versions(iterable $resources): Collection
    {
        $versions = [];
        foreach ($this->names($resources)->chunk(100) as $chunk) {
            $answer = $this->client->get('versions', ['resources' => $chunk->implode(',')]);
            foreach ($answer['versions'] ?? [] as $row) {
                $versions[$row['resource_type'].':'.$row['resource_id']] = $row['version'];
            }
        }

        return new Collection($versions);
    }

    /**
     * The resources that changed after a position, each once, in its current state.
     *
     * @param string|null $since from an earlier answer; null: all resources
     * @param list<string> $types only these
     * @return array<string, mixed> changes, has_more, resync, since; empty on failure
     */
    public function changesSince(?string $since = null, array $types = [], ?int $limit = null): array
    {
        return $this->client->get('changes', [
            'since' => $since, 'limit' => $limit,
            'types' => $types === [] ? null : implode(',', array_map(Resource::type(...), $types)),
        ]);
    }

    /**
     * Applies mutations, as a client's queue has them, in order.
     *
     * @param list<array<string, mixed>> $mutations at most 100
     * @param mixed $user the author; null: the application, which locks do not restrict
     * @return list<array<string, mixed>> one result for each; empty on failure
     */
    public function apply(string $clientId, array $mutations, mixed $user = null, ?string $socketId = null): array
    {
        foreach ($mutations as &$mutation) {
            if (is_array($mutation['data'] ?? null)) {
                $mutation['data'] = (object) $mutation['data'];
            }
        }

        return $this->client->post('changes', [
            'client_id' => $clientId, 'mutations' => $mutations, 'socket_id' => $socketId,
            'user_id' => $user === null ? null : $this->users->id($user),
        ])['results'] ?? [];
    }

    /**
     * The state of a model becomes the current version of its resource, whatever that was.  In a
     * transaction of the model's connection, if that is one to the daemon's database, it becomes so
     * at the commit.
     *
     * @param array<string, mixed>|null $data by default what the model shows of itself
     * @param string|null $socketId a connection that does not receive the event
     * @return int|null the new version; null in such a transaction; 0 on failure
     */
    public function publish(Model $model, ?array $data = null, ?string $socketId = null): ?int
    {
        $data ??= method_exists($model, 'toSyncArray') ? $model->toSyncArray() : $model->attributesToArray();

        return $this->change($model, $data, $socketId);
    }

    /**
     * The resource of a model is deleted, at the commit as with publish().
     *
     * @return int|null its version; null in such a transaction; 0 on failure
     */
    public function publishDeletion(Model $model, ?string $socketId = null): ?int
    {
        return $this->change($model, null, $socketId);
    }

    /** @param  array<string, mixed>|null  $data  null: the resource is deleted */
    private function change(Model $model, ?array $data, ?string $socketId): ?int
    {
        $resource = Resource::of($model);
        if ($transaction = $this->database->transactionOf($model->getConnection())) {
            try {
                $data === null ? $transaction->deleteResource($resource, $socketId)
                    : $transaction->putResource($resource, $data, $socketId);
            } catch (ScopewireException $e) {
                $this->client->fail("publish $resource", $e);

                return 0;
            }

            return null;
        }
        $results = $this->apply('laravel', [[
            'op' => $data === null ? 'delete' : 'upsert', 'mutation_id' => (string) Str::uuid(), 'expected_version' => null,
        ] + ($data === null ? [] : ['data' => $data]) + $resource->fields()], null, $socketId);

        $result = $results[0] ?? [];
        if (($result['status'] ?? 200) !== 200) {
            $error = $result['error'] ?? [];
            $this->client->fail("publish $resource", new ScopewireException(
                $result['status'].' '.($error['code'] ?? '').': '.($error['message'] ?? ''),
                (int) $result['status'], (string) ($error['code'] ?? 'unknown'), $error['field'] ?? null));
        }

        return (int) ($result['version'] ?? 0);
    }

    /**
     * @param iterable<Model|string> $resources
     * @return Collection<int, string>
     */
    private function names(iterable $resources): Collection
    {
        return (new Collection($resources))->map(
            fn ($one) => $one instanceof Model ? (string) Resource::of($one) : $one)->values();
    }
}
