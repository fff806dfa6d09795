<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Concerns;

use Illuminate\Database\Eloquent\Model;
use Scopewire\Laravel\Services\DataSyncService;
use Scopewire\Laravel\Support\Database;

/**
 * For a model that clients edit offline: what is saved or deleted is published.  If the model's connection
 * is one to the daemon's database (scopewire.database.connections), that is part of the
 * transaction of the write; otherwise it is done over HTTP, when the transaction has committed.
 * Changes of clients come in by POST /scopewire/changes: they pass the model's policy and
 * syncRules() before they count.
 *
 * @mixin Model
 */
trait SyncsOffline
{
    /** While a client's change is saved, which the daemon has already. */
    private bool $isSyncing = false;

    public static function bootSyncsOffline(): void
    {
        static::saved(fn (self $model) => $model->publishSync(false));
        static::deleted(fn (self $model) => $model->publishSync(true));
    }

    /**
     * What clients get of the model, and may change: by default the fillable attributes.
     *
     * @return array<string, mixed>
     */
    public function toSyncArray(): array
    {
        return array_intersect_key($this->attributesToArray(), array_flip($this->getFillable()));
    }

    /**
     * Validation rules for what clients send.
     *
     * @return array<string, mixed>
     */
    public function syncRules(): array
    {
        return [];
    }

    /**
     * Saves or deletes without publishing.
     *
     * @param callable(): mixed $change
     */
    public function withoutPublishing(callable $change): mixed
    {
        $this->isSyncing = true;
        try {
            return $change();
        } finally {
            $this->isSyncing = false;
        }
    }

    /**
     * A connection that does not receive the event of a change, such as Broadcast::socket(), the tab
     * that sent the request; by default none is left out, as that tab does not know the new version.
     */
    protected function syncSocket(): ?string
    {
        return null;
    }

    /**
     * @param array<string, mixed> $options
     * @return bool
     */
    public function save(array $options = [])
    {
        return $this->inTransactionOfSync(fn () => parent::save($options));
    }

    /** @return bool|null */
    public function delete()
    {
        return $this->inTransactionOfSync(fn () => parent::delete());
    }

    /** A write outside a transaction would be committed before it is published. */
    private function inTransactionOfSync(callable $write): mixed
    {
        $connection = $this->getConnection();

        return ! $this->isSyncing && $connection->transactionLevel() === 0 && app(Database::class)->isNamed($connection)
            ? $connection->transaction(fn () => $write()) : $write();
    }

    private function publishSync(bool $isDeleted): void
    {
        if ($this->isSyncing) {
            return;
        }
        $connection = $this->getConnection();
        $isLater = $connection->transactionLevel() > 0 && ! app(Database::class)->isNamed($connection);
        $publish = fn () => $this->publishSyncNow($isDeleted);
        $isLater ? $connection->afterCommit($publish) : $publish();
    }

    /**
     * What is published is the row, not this object: another writer may have changed columns that
     * this one has not.
     */
    private function publishSyncNow(bool $isDeleted): void
    {
        $row = $isDeleted ? null : $this->fresh();
        $data = app(DataSyncService::class);
        $row === null || (method_exists($row, 'trashed') && $row->trashed())
            ? $data->publishDeletion($this, $this->syncSocket()) : $data->publish($row, null, $this->syncSocket());
    }
}
