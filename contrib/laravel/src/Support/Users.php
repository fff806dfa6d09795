<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Support;

use Illuminate\Contracts\Auth\Authenticatable;
use Illuminate\Database\Eloquent\Model;
use InvalidArgumentException;

/**
 * What Scopewire needs to know of a user.  An application whose users are otherwise extends this
 * class and names its own in config/scopewire.php.
 */
class Users
{
    /** The daemon's sync.user_id: bigint or text.  The provider sets it. */
    public string $idType = 'bigint';

    /** The id of a user, given as a model or as its id. */
    public function id(mixed $user): int|string
    {
        $id = match (true) {
            $user instanceof Authenticatable => $user->getAuthIdentifier(),
            $user instanceof Model => $user->getKey(),
            default => $user,
        };
        if ($this->idType === 'text' && is_int($id)) {
            $id = (string) $id;
        } elseif ($this->idType !== 'text' && is_string($id) && preg_match('/\A[1-9]\d{0,18}\z/', $id)) {
            return (int) $id;
        }
        if ((is_int($id) && $id > 0) || (is_string($id) && $id !== '')) {
            return $id;
        }

        throw new InvalidArgumentException('A user is a model that is saved, or an id; this is '
            .get_debug_type($user).'.');
    }

    public function name(mixed $user): ?string
    {
        return $this->text($user, 'name');
    }

    public function avatar(mixed $user): ?string
    {
        return $this->text($user, 'avatar');
    }

    /** @return list<string> */
    public function roles(mixed $user): array
    {
        if (! is_object($user)) {
            return [];
        }
        // spatie/laravel-permission has getRoleNames().
        $roles = method_exists($user, 'getRoleNames') ? $user->getRoleNames() : data_get($user, 'roles');
        $names = [];
        foreach (is_iterable($roles) ? $roles : [] as $role) {
            $name = is_object($role) ? data_get($role, 'name') : $role;
            if (is_string($name) && $name !== '') {
                $names[] = $name;
            }
        }

        return $names;
    }

    private function text(mixed $user, string $name): ?string
    {
        $value = is_object($user) ? data_get($user, $name) : null;

        return is_string($value) && $value !== '' ? $value : null;
    }
}
