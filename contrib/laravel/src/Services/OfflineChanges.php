<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Services;

use Illuminate\Contracts\Auth\Access\Gate;
use Illuminate\Contracts\Validation\Factory;
use Illuminate\Database\Eloquent\Model;
use Illuminate\Database\QueryException;
use Illuminate\Support\Arr;
use Scopewire\Laravel\Concerns\SyncsOffline;
use Scopewire\Laravel\Support\Resource;
use Throwable;

/**
 * Changes of clients to models with SyncsOffline.  Each mutation passes the model's policy (create,
 * update, delete) and its syncRules(); then the model is saved and the daemon decides about the
 * version, in one transaction: what the daemon rejects is not saved.
 *
 * The models are those of scopewire.offline in the configuration.
 */
class OfflineChanges
{
    public function __construct(
        private readonly DataSyncService $data,
        private readonly Gate $gate,
        private readonly Factory $validation,
    ) {
    }

    /**
     * @param list<array<string, mixed>> $mutations
     * @return list<array<string, mixed>> a result for each, as POST /api/sync/changes gives them
     */
    public function apply(mixed $user, string $clientId, array $mutations, ?string $socketId = null): array
    {
        $results = [];
        $rejected = [];
        foreach ($mutations as $mutation) {
            $mutation = (array) $mutation;
            if ($field = Arr::first(['resource_type', 'resource_id', 'op'], fn ($one) => ! is_scalar($mutation[$one] ?? ''))) {
                $results[] = $this->refusal($mutation, 400, 'invalid_value', "$field is no text.", $field);

                continue;
            }
            $name = ($mutation['resource_type'] ?? '').':'.($mutation['resource_id'] ?? '');
            // Later mutations of a resource were made on top of the rejected one.
            $result = isset($rejected[$name])
                ? $this->refusal($mutation, 409, 'conflict', 'An earlier mutation of the resource in the batch was rejected.')
                : $this->one($user, $clientId, $mutation, $socketId);
            if ($result['status'] !== 200) {
                $rejected[$name] = true;
            }
            $results[] = $result;
        }

        return $results;
    }

    /**
     * @param array<string, mixed> $mutation
     * @return array<string, mixed>
     */
    private function one(mixed $user, string $clientId, array $mutation, ?string $socketId): array
    {
        $class = $this->model((string) ($mutation['resource_type'] ?? ''));
        $op = (string) ($mutation['op'] ?? '');
        if ($class === null || ! in_array($op, ['upsert', 'patch', 'delete'], true)) {
            return $this->refusal($mutation, 400, 'invalid_value', $class === null ? 'No model of this type can be edited offline.'
                : 'op is upsert, patch or delete.', $class === null ? 'resource_type' : 'op');
        }
        $model = $this->find($class, $mutation['resource_id'] ?? null);
        if ($model === false) {
            return $this->refusal($mutation, 400, 'invalid_value', 'resource_id is not a key of the model.', 'resource_id');
        }
        $isNew = $model === null;
        $model ??= (new $class)->forceFill([(new $class)->getKeyName() => $mutation['resource_id'] ?? null]);
        $ability = $op === 'delete' ? 'delete' : ($isNew ? 'create' : 'update');
        if ($this->gate->forUser($user)->denies($ability, $isNew && $ability === 'create' ? $class : $model)) {
            return $this->refusal($mutation, 403, 'forbidden', "The user may not $ability this.");
        }
        $data = (array) ($mutation['data'] ?? []);
        if ($op !== 'delete' && $refusal = $this->invalid($model, $data, $mutation)) {
            return $refusal;
        }

        return $this->save($model, $op, $data, $mutation, fn () => $this->data->apply($clientId, [$mutation], $user, $socketId)[0] ?? null);
    }

    /**
     * The database takes 07 and 7 for one key; for the daemon they are two resources, each with its version.
     *
     * @param class-string<Model> $class
     * @return Model|false|null false: it is no key, or not as the model writes it
     */
    private function find(string $class, mixed $id): Model|false|null
    {
        if (! is_int($id) && ! is_string($id) || (new $class)->getKeyType() === 'int' && (string) (int) $id !== (string) $id) {
            return false;
        }
        try {
            $model = $class::query()->find($id);
        } catch (QueryException $e) {
            // Data that the type of the column does not have (class 22).
            if (! str_starts_with((string) $e->getCode(), '22')) {
                throw $e;
            }

            return false;
        }

        return $model !== null && (string) $model->getKey() !== (string) $id ? false : $model;
    }

    /**
     * @param array<string, mixed> $data
     * @param array<string, mixed> $mutation
     * @return array<string, mixed>|null
     */
    private function invalid(Model $model, array $data, array $mutation): ?array
    {
        $rules = method_exists($model, 'syncRules') ? $model->syncRules() : [];
        if ($unknown = array_diff(array_keys($data), $model->getFillable())) {
            return $this->refusal($mutation, 400, 'unknown_field', 'There is no such field.', 'data.'.Arr::first($unknown));
        }
        if (($mutation['op'] ?? '') === 'patch') {
            $rules = array_intersect_key($rules, $data);
        }
        $validator = $this->validation->make($data, $rules);

        return ! $validator->fails() ? null : $this->refusal($mutation, 400, 'invalid_value', (string) $validator->errors()->first(),
            'data.'.$validator->errors()->keys()[0]);
    }

    /**
     * @param array<string, mixed> $data
     * @param array<string, mixed> $mutation
     * @param callable(): (array<string, mixed>|null) $decide
     * @return array<string, mixed>
     */
    private function save(Model $model, string $op, array $data, array $mutation, callable $decide): array
    {
        $connection = $model->getConnection();
        $connection->beginTransaction();
        try {
            $change = fn () => $op === 'delete' ? ! $model->exists || $model->delete() : $model->fill($data)->save();
            method_exists($model, 'withoutPublishing') ? $model->withoutPublishing($change) : $change();
            $result = $decide() ?? $this->refusal($mutation, 503, 'unavailable', 'The daemon did not answer; send the mutation again.');
        } catch (Throwable $e) {
            $connection->rollBack();
            // Data (class 22) or a constraint (23): repeated, the batch would fail for ever.
            if ($e instanceof QueryException && preg_match('/\A2[23]/', (string) $e->getCode())) {
                report($e);

                return $this->refusal($mutation, 422, 'invalid_data', 'The database does not accept this.', 'data');
            }

            throw $e;
        }
        $result['status'] === 200 && ! ($result['repeated'] ?? false) ? $connection->commit() : $connection->rollBack();

        return $result;
    }

    /** @return class-string<Model>|null */
    private function model(string $type): ?string
    {
        foreach ((array) config('scopewire.offline') as $class) {
            if (Resource::type($class) === $type && in_array(SyncsOffline::class, class_uses_recursive($class), true)) {
                return $class;
            }
        }

        return null;
    }

    /**
     * @param array<string, mixed> $mutation
     * @return array<string, mixed>
     */
    private function refusal(array $mutation, int $status, string $code, string $message, ?string $field = null): array
    {
        return ['status' => $status, 'error' => array_filter(['code' => $code, 'message' => $message, 'field' => $field])]
            + array_intersect_key($mutation, array_flip(['mutation_id', 'resource_type', 'resource_id', 'op']));
    }
}
