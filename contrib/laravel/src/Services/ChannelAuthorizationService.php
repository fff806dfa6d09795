<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Services;

use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Database\DatabaseManager;
use Illuminate\Support\Arr;
use Scopewire\Laravel\Client;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Support\ChannelRule;
use Scopewire\Laravel\Support\ChannelRules;
use Scopewire\Laravel\Support\Database;
use Scopewire\Laravel\Support\Users;

/**
 * One place for the rules of private and presence channels.
 *
 * Each rule becomes a channel of Laravel's broadcasting, and, by write(), a row of the daemon's
 * table channel_rules.  So /broadcasting/auth of the application and that of the daemon agree.  A
 * predicate in SQL needs a connection in scopewire.database.connections: the database evaluates it.
 */
class ChannelAuthorizationService extends Service
{
    public function __construct(
        Client $client,
        Users $users,
        private readonly ChannelRules $rules,
        private readonly Database $database,
        private readonly DatabaseManager $databases,
        private readonly BroadcastManager $broadcasts,
    ) {
        parent::__construct($client, $users);
    }

    /** Every user may join. */
    public function anyone(string $pattern, bool $canWrite = false): static
    {
        return $this->define(new ChannelRule($pattern, 'anyone', null, $canWrite));
    }

    /** The user whose id the placeholder has: owner('App.Models.User.{id}', 'id'). */
    public function owner(string $pattern, string $placeholder = 'id', bool $canWrite = false): static
    {
        return $this->define(new ChannelRule($pattern, 'owner', $placeholder, $canWrite));
    }

    /**
     * Users that have one of the roles.
     *
     * @param string|list<string> $roles
     */
    public function role(string $pattern, string|array $roles, bool $canWrite = false): static
    {
        return $this->define(new ChannelRule($pattern, 'role', implode(',', Arr::wrap($roles)), $canWrite));
    }

    /**
     * Users for whom an SQL expression is true.  {user}, {roles} and the pattern's placeholders are
     * values: 'EXISTS (SELECT FROM public.project_user WHERE project_id = {id}::bigint AND user_id = {user})'.
     */
    public function sql(string $pattern, string $predicate, bool $canWrite = false): static
    {
        return $this->define(new ChannelRule($pattern, 'sql', $predicate, $canWrite));
    }

    public function define(ChannelRule $rule): static
    {
        $this->rules->add($rule);
        // With a parameter of its own for each placeholder, as Laravel passes them.
        $this->broadcasts->connection()->channel($rule->pattern, ChannelAuthorizer::class);

        return $this;
    }

    /** @return list<ChannelRule> */
    public function rules(): array
    {
        return $this->rules->all();
    }

    /**
     * Whether the user may join a channel, named as on the wire: private-client.7.
     */
    public function can(mixed $user, string $channel): bool
    {
        return $this->explain($user, $channel)['allowed'];
    }

    /**
     * The verdict with its reason.
     *
     * @return array{allowed: bool, reason: string, rule: ?ChannelRule}
     */
    public function explain(mixed $user, string $channel): array
    {
        $name = self::bareName($channel);
        if ($name === null) {
            return ['allowed' => true, 'reason' => "$channel is public", 'rule' => null];
        }
        $patterns = [];
        foreach ($this->rules->all() as $rule) {
            $values = $rule->match($name);
            if ($values === null) {
                continue;
            }
            $patterns[] = $rule->pattern;
            if ($this->isSatisfied($rule, $user, $values, $channel)) {
                return ['allowed' => true, 'reason' => "the rule $rule->rule of $rule->pattern allows it", 'rule' => $rule];
            }
        }
        $reason = $patterns === [] ? "no rule has a pattern that matches $name"
            : 'none of the rules of '.implode(', ', array_unique($patterns)).' allows this user';

        return ['allowed' => false, 'reason' => $reason, 'rule' => null];
    }

    /**
     * Writes the rules to channel_rules, for this application, and removes those that it wrote
     * before and that are not defined any more.  The connection has to be the schema owner's.
     *
     * @return array{added: int, removed: int}
     */
    public function write(?string $connection = null): array
    {
        $connection ??= config('scopewire.database.rules_connection') ?? $this->database->names()[0] ?? null;
        if ($connection === null) {
            throw new ScopewireException('Set SCOPEWIRE_DB_RULES_CONNECTION to a connection of the role that owns the '
                .'schema '.$this->database->schema().'.', 0, 'no_connection');
        }
        $appId = $this->client->settings()->appId;
        $table = $this->database->schema().'.channel_rules';

        return $this->databases->connection($connection)->transaction(function ($db) use ($appId, $table) {
            $before = $db->select("SELECT id, pattern, rule, argument FROM $table WHERE app = ?", [$appId], false);
            $key = fn ($r) => json_encode([$r->pattern, $r->rule, $r->argument]);
            $old = Arr::keyBy($before, $key);
            $added = 0;
            foreach ($this->rules->all() as $rule) {
                $added += isset($old[$key($rule)]) ? 0 : 1;
                unset($old[$key($rule)]);
                $db->statement("INSERT INTO $table AS r (app, pattern, rule, argument, can_write) VALUES (?, ?, ?, ?, ?) "
                    .'ON CONFLICT (app, pattern, rule, argument) DO UPDATE SET can_write = excluded.can_write '
                    .'WHERE r.can_write <> excluded.can_write',
                    [$appId, $rule->pattern, $rule->rule, $rule->argument, $rule->canWrite]);
            }
            foreach ($old as $row) {
                $db->delete("DELETE FROM $table WHERE id = ?", [$row->id]);
            }

            return ['added' => $added, 'removed' => count($old)];
        });
    }

    /** A channel's name without the prefix that guards it; null: it is public. */
    public static function bareName(string $channel): ?string
    {
        return preg_match('/\A(?:private-encrypted-|private-|presence-)(?:cache-)?(.+)\z/', $channel, $found)
            ? $found[1] : null;
    }

    /** @param  array<string, string>  $values */
    private function isSatisfied(ChannelRule $rule, mixed $user, array $values, string $channel): bool
    {
        return match ($rule->rule) {
            'anyone' => true,
            'owner' => ($values[$rule->argument] ?? null) === (string) $this->users->id($user),
            'role' => array_intersect($rule->roles(), $this->users->roles($user)) !== [],
            default => $this->asksDatabase($user, $channel),
        };
    }

    private function asksDatabase(mixed $user, string $channel): bool
    {
        $database = $this->database->first();
        if ($database === null) {
            $this->client->fail('authorize '.$channel, new ScopewireException('A rule in SQL is evaluated by the '
                .'database: set SCOPEWIRE_DB_CONNECTIONS.', 0, 'no_connection'));

            return false;
        }
        try {
            return $database->allows(['id' => $this->users->id($user), 'roles' => $this->users->roles($user)], $channel);
        } catch (ScopewireException $e) {
            $this->client->fail('authorize '.$channel, $e);

            return false;
        }
    }
}
