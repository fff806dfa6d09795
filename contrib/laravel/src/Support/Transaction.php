<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Support;

use Illuminate\Database\Connection;
use Illuminate\Database\QueryException;
use JsonException;
use Scopewire\Laravel\Exceptions\ScopewireException;

/**
 * Writes through a connection to the daemon's database: what is written exists when the transaction
 * commits.  A refused write is undone by a savepoint, so that the caller's transaction can go on.
 */
final class Transaction
{
    public function __construct(
        public readonly Connection $connection,
        private readonly string $schema,
        private readonly string $appId,
    ) {
    }

    /**
     * One statement for all channels.
     *
     * @param non-empty-list<array{string, string, string|null}> $events channel, payload as JSON, event_id
     */
    public function broadcast(string $name, array $events, ?string $exceptSocket = null): void
    {
        $rows = implode(', ', array_fill(0, count($events), '(?::text, ?::text, ?::text)'));
        $this->run("SELECT {$this->schema}.broadcast(e.channel, ?::text, e.payload, e.id, ?::text, ?::text) "
            ."FROM (VALUES $rows) AS e (channel, payload, id)",
            [$name, $exceptSocket, $this->appId, ...array_merge(...$events)]);
    }

    /** @param  array<string, mixed>  $metadata */
    public function addActivity(
        string $type,
        ?string $description,
        int|string|null $userId,
        ?string $subjectType,
        ?string $subjectId,
        array $metadata,
        ?string $exceptSocket,
    ): int {
        $row = $this->run("SELECT {$this->schema}.activity_add(?, ?, ?, ?, ?, ?::jsonb, ?, ?) AS id", [
            $type, $description, $userId, $subjectType, $subjectId, $this->json($metadata), $this->appId, $exceptSocket,
        ])[0];

        return (int) $row->id;
    }

    /**
     * @param non-empty-list<int|string> $users
     * @param array<string, mixed> $data
     * @return list<array{id: string, user_id: int|string}>
     */
    public function notify(array $users, string $title, ?string $message, ?string $type, array $data, ?string $channel = null): array
    {
        $ids = '{'.implode(',', array_map(fn (int|string $id): string => '"'.addcslashes((string) $id, '"\\').'"', $users)).'}';
        $rows = $this->run("SELECT id, user_id FROM {$this->schema}.notification_send(?::text[]::{$this->schema}.user_key[], ?, ?, "
            ."coalesce(?, 'notification'), ?::jsonb, ?, ?)", [$ids, $title, $message, $type, $this->json($data), $this->appId, $channel]);

        return array_map(fn ($row) => ['id' => $row->id, 'user_id' => $row->user_id], $rows);
    }

    /**
     * The data becomes the current version of the resource at the commit, whatever that was.
     *
     * @param array<string, mixed> $data
     * @return string the mutation_id of the event DataChanged
     */
    public function putResource(Resource $resource, array $data, ?string $exceptSocket): string
    {
        return $this->run("SELECT {$this->schema}.resource_put(?, ?, ?::jsonb, ?, ?) AS id",
            [$resource->type, (string) $resource->id, $this->json($data), $this->appId, $exceptSocket])[0]->id;
    }

    /** @return string the mutation_id of the event DataChanged */
    public function deleteResource(Resource $resource, ?string $exceptSocket): string
    {
        return $this->run("SELECT {$this->schema}.resource_delete(?, ?, ?, ?) AS id",
            [$resource->type, (string) $resource->id, $this->appId, $exceptSocket])[0]->id;
    }

    /**
     * The daemon's verdict on a channel, by the rules in the database.
     *
     * @param array<string, mixed> $caller id and roles
     */
    public function allows(array $caller, string $channel): bool
    {
        return (bool) $this->run("SELECT {$this->schema}.channel_allows(?, ?::jsonb, ?) AS allowed",
            [$this->appId, $this->json($caller), $channel])[0]->allowed;
    }

    /**
     * @param array<int, mixed> $values
     * @return list<\stdClass>
     */
    public function run(string $sql, array $values = []): array
    {
        $select = fn () => $this->connection->select($sql, $values, false);
        try {
            return $this->connection->transactionLevel() > 0 ? $this->connection->transaction($select) : $select();
        } catch (QueryException $e) {
            throw new ScopewireException($e->getPrevious()?->getMessage() ?? $e->getMessage(), 0,
                'sql_'.$e->getCode(), null, $e);
        }
    }

    /** @param  array<string, mixed>  $value */
    private function json(array $value): string
    {
        try {
            return json_encode((object) $value, JSON_THROW_ON_ERROR);
        } catch (JsonException $e) {
            throw new ScopewireException('The data is not JSON: '.$e->getMessage(), 0, 'invalid_json', null, $e);
        }
    }
}
