<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Support;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Database\Eloquent\Relations\Relation;
use Illuminate\Support\Str;
use InvalidArgumentException;

/**
 * A resource of the sync API: a type that fits a channel's name, such as invoice, and an id.
 *
 * The type of a model is its alias in Laravel's morph map; without one, the class's base name in
 * snake case: App\Models\TimeEntry is time_entry.
 */
final class Resource
{
    private function __construct(public readonly string $type, public readonly int|string $id)
    {
    }

    /** @param  Model|class-string<Model>|string  $type */
    public static function of(Model|string $type, int|string|null $id = null): self
    {
        $id ??= $type instanceof Model ? $type->getKey() : null;
        if ($id === null || $id === '') {
            throw new InvalidArgumentException('A resource is a model that is saved, or a type and an id.');
        }

        return new self(self::type($type), $id);
    }

    public static function type(Model|string $type): string
    {
        $class = $type instanceof Model ? $type::class : $type;
        if (! is_subclass_of($class, Model::class)) {
            return $class;
        }
        $alias = array_search($class, Relation::morphMap() ?: [], true);

        return is_string($alias) ? $alias : Str::snake(class_basename($class));
    }

    /** @return array{resource_type: string, resource_id: int|string} */
    public function fields(): array
    {
        return ['resource_type' => $this->type, 'resource_id' => $this->id];
    }

    /** As lists of resources name it: type:id. */
    public function __toString(): string
    {
        return $this->type.':'.$this->id;
    }
}
