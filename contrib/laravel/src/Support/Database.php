<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Support;

use Illuminate\Contracts\Config\Repository;
use Illuminate\Database\Connection;
use Illuminate\Database\DatabaseManager;
use InvalidArgumentException;

/** The database connections through which events are written in the application's transactions. */
class Database
{
    public function __construct(
        private readonly DatabaseManager $databases,
        private readonly Repository $config,
    ) {
    }

    /**
     * The first of the named connections that is in a transaction.  It opens no connection.
     */
    public function transaction(): ?Transaction
    {
        $open = $this->databases->getConnections();
        foreach ($this->names() as $name) {
            $connection = $open[$name] ?? null;
            if ($connection instanceof Connection && $connection->transactionLevel() > 0) {
                return $this->on($connection);
            }
        }

        return null;
    }

    /** This connection, if it is one of the named ones and in a transaction. */
    public function transactionOf(Connection $connection): ?Transaction
    {
        return $connection->transactionLevel() > 0 && $this->isNamed($connection) ? $this->on($connection) : null;
    }

    public function isNamed(Connection $connection): bool
    {
        return in_array($connection->getName(), $this->names(), true);
    }

    /** The first of the named connections; null if there is none. */
    public function first(): ?Transaction
    {
        $name = $this->names()[0] ?? null;

        return $name === null ? null : $this->named($name);
    }

    public function named(string $name): Transaction
    {
        return $this->on($this->databases->connection($name));
    }

    public function schema(): string
    {
        $schema = (string) $this->config->get('scopewire.database.schema', 'scopewire');
        if (! preg_match('/\A[A-Za-z_][A-Za-z0-9_$]*\z/', $schema)) {
            throw new InvalidArgumentException("scopewire.database.schema is not a name of a schema: $schema");
        }

        return $schema;
    }

    /** @return list<string> */
    public function names(): array
    {
        $names = $this->config->get('scopewire.database.connections') ?? [];
        $names = is_array($names) ? $names : explode(',', (string) $names);

        return array_values(array_filter(array_map(trim(...), $names), fn ($name) => $name !== ''));
    }

    private function on(Connection $connection): Transaction
    {
        if ($connection->getDriverName() !== 'pgsql') {
            throw new InvalidArgumentException('scopewire.database.connections names '
                ."\"{$connection->getName()}\", whose driver is {$connection->getDriverName()}; it has to be pgsql.");
        }

        return new Transaction($connection, $this->schema(), (string) $this->config->get('scopewire.app_id'));
    }
}
