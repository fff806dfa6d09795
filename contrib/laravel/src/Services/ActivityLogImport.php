<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Services;

use Illuminate\Contracts\Config\Repository;
use Illuminate\Database\Connection;
use Illuminate\Database\DatabaseManager;
use Illuminate\Support\Collection;
use Scopewire\Laravel\Support\Database;

/**
 * Copies entries of spatie/laravel-activitylog into the daemon's table of activities, with their
 * times, in the order of their ids.  They are not broadcast.  An entry's id is in metadata as
 * activity_log_id; a later run goes on after the highest, so that none is copied twice.
 */
class ActivityLogImport
{
    private const CHUNK = 500;

    public function __construct(
        private readonly DatabaseManager $databases,
        private readonly Database $database,
        private readonly Repository $config,
    ) {
    }

    /**
     * @param string $connection of the role that owns the daemon's schema
     * @return int how many were copied
     */
    public function run(string $connection): int
    {
        $to = $this->databases->connection($connection);
        $from = $this->databases->connection($this->config->get('activitylog.database_connection'));
        $table = (string) $this->config->get('activitylog.table_name', 'activity_log');
        $appId = (string) $this->config->get('scopewire.app_id');
        $copied = 0;
        $from->table($table)->where('id', '>', $this->last($to, $appId))->chunkById(self::CHUNK, function (Collection $rows) use ($to, $appId, &$copied): void {
            $to->table($this->database->schema().'.activities')->insert(
                $rows->map(fn (object $row): array => $this->activity($row, $appId))->all());
            $copied += $rows->count();
        });

        return $copied;
    }

    private function last(Connection $to, string $appId): int
    {
        $row = $to->selectOne("SELECT max((metadata->>'activity_log_id')::bigint) AS last FROM {$this->database->schema()}.activities
            WHERE app = ? AND metadata->>'activity_log_id' IS NOT NULL", [$appId], false);

        return (int) ($row->last ?? 0);
    }

    /** @return array<string, mixed> */
    private function activity(object $row, string $appId): array
    {
        $properties = json_decode((string) ($row->properties ?? ''), true);
        $text = fn (mixed $value, int $bytes): ?string => $value === null || $value === '' ? null : mb_strcut((string) $value, 0, $bytes);
        $causer = (string) ($row->causer_id ?? '');
        $id = $this->config->get('scopewire.user_id') === 'text' ? '/\A[-A-Za-z0-9_=@;]{1,128}\z/' : '/\A[1-9]\d{0,18}\z/';

        return [
            'app' => $appId,
            'type' => $text($row->event ?? null, 100) ?? $text($row->log_name ?? null, 100) ?? 'activity',
            'description' => $text($row->description ?? null, 2000),
            'user_id' => preg_match($id, $causer) ? $causer : null,
            'subject_type' => $text($row->subject_type ?? null, 100),
            'subject_id' => $text($row->subject_id ?? null, 64),
            'metadata' => json_encode(['activity_log_id' => $row->id] + (is_array($properties) ? $properties : []), JSON_THROW_ON_ERROR),
            'created_at' => $row->created_at,
        ];
    }
}
