<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Services;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Support\Collection;
use Illuminate\Support\Str;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Support\Resource;

/** JSON objects with versions, for clients that are not always connected. */
class DataSyncService extends Service
{
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
     * The state of a model becomes the current version of its resource, whatever that was.
     *
     * @param array<string, mixed>|null $data by default what the model shows of itself
     * @return int the new version; 0 on failure
     */
    public function publish(Model $model, ?array $data = null, ?string $socketId = null): int
    {
        $data ??= method_exists($model, 'toSyncArray') ? $model->toSyncArray() : $model->attributesToArray();

        return $this->change($model, ['op' => 'upsert', 'data' => $data], $socketId);
    }

    /**
     * The resource of a model is deleted.
     *
     * @return int its version; 0 on failure
     */
    public function publishDeletion(Model $model, ?string $socketId = null): int
    {
        return $this->change($model, ['op' => 'delete'], $socketId);
    }

    /** @param  array<string, mixed>  $change */
    private function change(Model $model, array $change, ?string $socketId): int
    {
        $results = $this->apply('laravel', [$change + Resource::of($model)->fields() + [
            'mutation_id' => (string) Str::uuid(), 'expected_version' => null,
        ]], null, $socketId);

        $result = $results[0] ?? [];
        if (($result['status'] ?? 200) !== 200) {
            $error = $result['error'] ?? [];
            $this->client->fail('publish '.Resource::of($model), new ScopewireException(
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
