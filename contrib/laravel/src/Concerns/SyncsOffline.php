<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Concerns;

use Illuminate\Database\Eloquent\Model;
use Scopewire\Laravel\Services\DataSyncService;

/**
 * For a model that clients edit offline: what is saved or deleted is published, when the
 * transaction has committed.  Changes of clients come in by POST /scopewire/changes: they pass the
 * model's policy and syncRules() before they count.
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

    private function publishSync(bool $isDeleted): void
    {
        if ($this->isSyncing) {
            return;
        }
        $publish = fn () => $isDeleted ? app(DataSyncService::class)->publishDeletion($this)
            : app(DataSyncService::class)->publish($this);
        $this->getConnection()->transactionLevel() > 0 ? $this->getConnection()->afterCommit($publish) : $publish();
    }
}
