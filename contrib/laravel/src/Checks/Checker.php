<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Checks;

use Illuminate\Contracts\Config\Repository;
use Illuminate\Http\Client\ConnectionException;
use Illuminate\Http\Client\Factory;
use Illuminate\Http\Client\Response;
use Illuminate\Support\Str;
use InvalidArgumentException;
use Scopewire\Laravel\Broadcasting\ScopewireBroadcaster;
use Scopewire\Laravel\Client;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Support\Database;
use Scopewire\Laravel\Support\Settings;
use Scopewire\Laravel\Support\Tokens;
use Scopewire\Laravel\Support\Transaction;
use Throwable;

/**
 * Looks for what is wrong between the application, the daemon and the database.  Each check is a
 * method; a finding has what to do.
 */
class Checker
{
    private const MOST_SKEW_S = 60;

    private const EVENT_DEADLINE_S = 5;

    public function __construct(
        private readonly Repository $config,
        private readonly Factory $http,
        private readonly Client $client,
        private readonly Database $database,
        private readonly Tokens $tokens,
        private readonly Variables $variables,
    ) {
    }

    /** @return iterable<string, Finding> by the name of the check */
    public function run(): iterable
    {
        $checks = [
            'settings' => $this->settings(...), 'broadcasting' => $this->broadcasting(...),
            'encryption key' => $this->encryptionKey(...), 'reachability' => $this->reachability(...),
            'clock' => $this->clock(...), 'credentials' => $this->credentials(...),
            'proxy' => $this->proxy(...), 'tokens' => $this->tokens(...),
            'ids of users' => $this->userIds(...), 'origins' => $this->origins(...),
        ];
        foreach ($this->database->names() as $name) {
            $checks["database $name"] = fn () => $this->database($name);
        }
        foreach ($checks as $name => $check) {
            try {
                $finding = $check();
            } catch (ConnectionException $e) {
                $finding = Finding::wrong('no answer: '.$e->getMessage(), 'Read the logs of the daemon and the proxy. An answer that '
                    .'takes longer than SCOPEWIRE_TIMEOUT seconds counts as none.');
            } catch (Throwable $e) {
                $finding = Finding::wrong($e->getMessage() ?: $e::class, 'Correct what the message names, in .env or config/scopewire.php. '
                    .'After a change run php artisan config:clear.');
            }
            yield $name => $finding;
            if ($finding->endsChecks) {
                return;
            }
        }
    }

    private function settings(): Finding
    {
        foreach (['app_id' => 'APP_ID', 'key' => 'APP_KEY', 'secret' => 'APP_SECRET'] as $name => $variable) {
            if ((string) $this->config->get("scopewire.$name") === '') {
                return Finding::wrong("scopewire.$name is empty", 'Set '.$this->variables->named($variable).' in .env to the daemon\'s value, or run '
                    .'php artisan scopewire:install. After a change run php artisan config:clear.', true);
            }
        }
        $host = (string) $this->config->get('scopewire.host');
        if (preg_match('#[/\s]#', $host)) {
            return Finding::wrong("scopewire.host is \"$host\", which is not a host", $this->variables->named('HOST').' is a name or an address '
                .'alone, such as ws.example.com; the scheme is '.$this->variables->named('SCHEME').'.', true);
        }
        $port = (int) $this->config->get('scopewire.port');
        if ($port < 1 || $port > 65535) {
            return Finding::wrong("scopewire.port is $port", 'Set '.$this->variables->named('PORT').' to the port of the daemon or the proxy: 8080, or 443.', true);
        }

        $faults = $this->of()->faults;
        if ($faults !== []) {
            $remedies = array_map(fn ($name) => match ($name) {
                'auth' => 'Set SCOPEWIRE_AUTH to basic or signed in .env, or remove it.',
                'user_id' => 'Set SCOPEWIRE_USER_ID to bigint or text in .env, the type that the daemon has (sync.user_id); UUIDs and ULIDs are text.',
                'token.ttl' => 'Set SCOPEWIRE_TOKEN_TTL in .env to the seconds that a token is valid for, or remove it.',
                default => 'Set SCOPEWIRE_TIMEOUT and SCOPEWIRE_CONNECT_TIMEOUT in .env, or remove them: without a limit a '
                    .'page would wait for a daemon that does not answer.',
            }, array_keys($faults));

            return Finding::wrong(implode('; ', $faults), implode(' ', array_unique($remedies)));
        }

        return Finding::ok($this->of()->origin.', application '.$this->of()->appId);
    }

    private function broadcasting(): Finding
    {
        $name = (string) $this->config->get('broadcasting.default');
        $driver = $this->config->get("broadcasting.connections.$name.driver");
        if (in_array($driver, ['reverb', 'pusher'], true)) {
            return Finding::wrong("events are broadcast by $name: over HTTP, not in transactions", 'Set BROADCAST_CONNECTION=scopewire in .env.');
        }

        return $driver === 'scopewire' ? Finding::ok("by $name")
            : Finding::wrong('events are not broadcast: the default connection is '.($name ?: 'not set'), 'Set BROADCAST_CONNECTION=scopewire in .env.');
    }

    private function encryptionKey(): Finding
    {
        $name = 'broadcasting.connections.'.$this->config->get('broadcasting.default').'.options.encryption_master_key_base64';
        // That of the connection replaces the other one.
        $name = $this->config->get($name) === null ? 'scopewire.encryption_master_key' : $name;
        $key = (string) $this->config->get($name);
        if ($key !== '' && ! ScopewireBroadcaster::isMasterKey($key)) {
            return Finding::wrong("$name is not 32 bytes in base64: encrypted channels are refused", 'Make one with "openssl rand -base64 32", '
                .'and set it here (SCOPEWIRE_ENCRYPTION_MASTER_KEY) and in the daemon (encryption_master_key, or SCOPEWIRE_APP_ENCRYPTION_MASTER_KEY in .env).');
        }

        return Finding::ok($key === '' ? 'none' : 'valid');
    }

    private function reachability(): Finding
    {
        $s = $this->of();
        try {
            $answer = $this->plain('/up');
        } catch (ConnectionException $e) {
            $remedy = match (true) {
                str_contains($e->getMessage(), 'SSL') || str_contains($e->getMessage(), 'cURL error 35') => 'Is '.$this->variables->named('SCHEME').' right? The daemon serves https only with a certificate '
                    .'(server.tls_certificate); the certificate has to be one that this machine trusts.',
                str_contains($e->getMessage(), 'resolve host') => 'Set '.$this->variables->named('HOST').' to a name that this machine can resolve.',
                default => 'Start the daemon (systemctl start scopewire, or scopewired --env-file .env), and compare '
                    .$this->variables->named('HOST').' and '.$this->variables->named('PORT').' with the line "ready: listening on" of its log. '
                    .'With --env-file it listens on REVERB_SERVER_PORT, or 8080. Is the port open in the firewall?',
            };

            return Finding::wrong("no answer from $s->origin: ".$e->getMessage(), $remedy, true);
        }

        return $answer->successful() ? Finding::ok($s->origin.' answers')
            : Finding::wrong("$s->origin$s->path/up answers ".$answer->status(), 'Another server answers there, or the path is wrong: '
                .'compare '.$this->variables->named('PORT').' and SCOPEWIRE_PATH with server.port and server.path of the daemon.', true);
    }

    private function clock(): Finding
    {
        $there = strtotime((string) $this->plain('/up')->header('Date'));
        $skew = $there === false ? 0 : abs(time() - $there);

        return $skew <= self::MOST_SKEW_S ? Finding::ok("differs by $skew s")
            : Finding::wrong("the clocks of the two machines differ by $skew s", 'Synchronize both by NTP (timedatectl set-ntp true): '
                .'signatures and tokens of another time are refused.');
    }

    private function credentials(): Finding
    {
        $error = $this->refusal('online-users', ['limit' => 1]);
        $s = $this->of();
        if ($error === null || $error->status !== 401) {
            return $this->signature();
        }

        return Finding::wrong('the daemon refuses key and secret: '.$error->getMessage(), 'Compare '.$this->variables->named('APP_KEY').' and '
            .$this->variables->named('APP_SECRET')." with key and secret of [app $s->appId] in the daemon's configuration. Quote values with # in .env.", true);
    }

    private function signature(): Finding
    {
        $s = $this->of();
        $path = '/apps/'.rawurlencode($s->appId).'/channels';
        $query = \Pusher\Pusher::build_auth_query_params($s->key, $s->secret, 'GET', $path);
        $answer = $this->plain($path.'?'.http_build_query($query));
        if ($answer->successful()) {
            return Finding::ok('accepted');
        }
        if ($this->isOfDaemon($answer) && in_array($answer->status(), [401, 403, 404], true)) {
            return Finding::wrong("the daemon refuses the application $s->appId: ".$answer->status().' '.Str::limit($answer->body(), 200),
                $this->variables->named('APP_ID')." has to be the application's id: the name after \"app\" in [app ...] of the daemon's configuration.", true);
        }

        return Finding::wrong('/apps is answered with '.$answer->status().' by something else than the daemon',
            'Let the proxy pass /apps to the daemon.');
    }

    /** /apps is checked with the credentials, /app with the origins. */
    private function proxy(): Finding
    {
        $answer = $this->plain('/api/sync/online-users?limit=1', true);

        return $this->isOfDaemon($answer) ? Finding::ok('passes /api/sync')
            : Finding::wrong('/api/sync is answered with '.$answer->status().' by something else than the daemon',
                'Let the proxy pass /api/sync to the daemon, all methods, with the header Authorization.');
    }

    private function tokens(): Finding
    {
        $remedy = 'Set SCOPEWIRE_TOKEN_SECRET to token_secret of the daemon\'s application (SCOPEWIRE_APP_TOKEN_SECRET, if the daemon reads '
            .'it from .env); leave both empty to use the secret.';
        try {
            $token = $this->tokens->issue(1, 60);
        } catch (InvalidArgumentException $e) {
            return Finding::wrong($e->getMessage(), $remedy);
        }
        $answer = $this->http->withToken($token)->timeout($this->of()->timeout)->acceptJson()
            ->get($this->of()->origin.$this->of()->path.'/api/sync/notifications', ['limit' => 1]);

        return $answer->status() !== 401 ? Finding::ok('accepted')
            : Finding::wrong('the daemon refuses tokens of users: '.($answer->json('error.message') ?? 401), $remedy);
    }

    /** The daemon accepts a text as the id of a user only if its ids are texts.  The call changes nothing. */
    private function userIds(): Finding
    {
        $theirs = 'text';
        try {
            $this->client->throwing()->post('may', ['user_id' => 'scopewire-check', 'channels' => ['private-scopewire-check']]);
        } catch (ScopewireException $e) {
            if ($e->field !== 'user_id') {
                return Finding::wrong('the daemon does not show their type: '.$e->getMessage(), 'Read the daemon\'s log, and run scopewire:check again.');
            }
            $theirs = 'bigint';
        }
        $ours = $this->of()->userId;

        return $ours === $theirs ? Finding::ok($ours)
            : Finding::wrong("scopewire.user_id is $ours, and the daemon's sync.user_id is $theirs", "Set SCOPEWIRE_USER_ID=$theirs in .env, or sync.user_id "
                ."= $ours in the daemon (SCOPEWIRE_SYNC_USER_ID=$ours, if it reads .env); a schema that exists has to be converted: docs/upgrading.md.");
    }

    private function origins(): Finding
    {
        $url = parse_url((string) $this->config->get('app.url')) ?: [];
        $origin = ($url['scheme'] ?? 'http').'://'.($url['host'] ?? 'localhost').(isset($url['port']) ? ':'.$url['port'] : '');
        $answer = (new Handshake($this->of()))->answer($origin);
        if (str_contains($answer, 'pusher:connection_established')) {
            return Finding::ok("browsers at $origin connect");
        }
        if (str_contains($answer, '4009')) {
            return Finding::wrong("the daemon refuses browsers at $origin", 'Add '.($url['host'] ?? 'localhost').' to allowed_origins of the '
                .'daemon\'s application, or correct APP_URL in .env.');
        }
        $first = strtok($answer, "\r\n") ?: 'nothing';

        return Finding::wrong("a WebSocket handshake at /app is answered with $first", 'Let the proxy pass /app to the daemon, with the headers '
            .'Upgrade and Connection (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; Connection "upgrade").');
    }

    private function database(string $name): Finding
    {
        if ($this->config->get("database.connections.$name.driver") !== 'pgsql') {
            return Finding::wrong("$name is not a PostgreSQL connection", 'Name in SCOPEWIRE_DB_CONNECTIONS only connections to the daemon\'s '
                .'database, or leave it empty: events are then sent over HTTP.');
        }
        $schema = $this->database->schema();
        try {
            $database = $this->database->named($name);
            if ($finding = $this->rights($database, $schema)) {
                return $finding;
            }
        } catch (Throwable $e) {
            return Finding::wrong('no connection: '.Str::before($e->getMessage(), ' (Connection'), "Correct database.connections.$name (DB_HOST, DB_DATABASE, "
                .'DB_USERNAME, DB_PASSWORD in .env), and start PostgreSQL.');
        }
        $path = $this->config->get("database.connections.$name.search_path");
        if (in_array($schema, is_array($path) ? $path : preg_split('/[\s,]+/', (string) $path), true)) {
            return Finding::wrong("$schema is in the search_path of $name", 'Remove it from config/database.php: migrate:fresh drops all tables '
                .'of the schemas in search_path.');
        }

        return $this->arrival($database);
    }

    private function rights(Transaction $database, string $schema): ?Finding
    {
        $is = $database->run('SELECT current_user AS role, current_database() AS name, to_regnamespace(?) IS NOT NULL AS there', [$schema])[0];
        if (! $is->there) {
            return Finding::wrong("the database $is->name has no schema $schema", 'The daemon makes it at its first start with this database: give it the '
                .'same DB_HOST and DB_DATABASE. For another name set SCOPEWIRE_DB_SCHEMA to the daemon\'s database.schema.');
        }
        $rights = ['publish' => 'broadcast(text,text,text,text,text,text)', 'change resources' => 'resource_put(text,text,jsonb,text,text)'];
        $missing = array_keys(array_filter($rights, fn (string $function) => ! $database->run('SELECT CASE WHEN has_schema_privilege(?, \'USAGE\') '
            ."THEN has_function_privilege(to_regprocedure(?), 'EXECUTE') END AS may", [$schema, "$schema.$function"])[0]->may));

        return $missing === [] ? null : Finding::wrong("the role $is->role may not $missing[0]", "As the owner of the schema: psql -v role=$is->role -v schema=$schema "
            ."-f grants.sql $is->name. The file is installed with the daemon, in /usr/share/scopewire or /usr/local/share/scopewire.");
    }

    /** An event that is written to the database arrives in the daemon. */
    private function arrival(Transaction $database): Finding
    {
        $channel = 'scopewire-check-'.Str::lower(Str::random(12));
        try {
            $database->broadcast('scopewire.check', [[$channel, '{}', null]]);
        } catch (ScopewireException $e) {
            return Finding::wrong('an event was refused: '.Str::before($e->getMessage(), "\n"), 'Compare '.$this->variables->named('APP_ID').' with the ids in '
                .$this->database->schema().'.log_apps, which the daemon writes.');
        }
        $end = microtime(true) + self::EVENT_DEADLINE_S;
        do {
            $events = $this->client->throwing(false)->get('events', ['channels' => $channel, 'limit' => 1])['events'] ?? [];
            if ($events !== [] && $events[0]['delivered']) {
                return Finding::ok('an event of a transaction arrived');
            }
            usleep(50_000);
        } while (microtime(true) < $end);

        return Finding::wrong('an event of a transaction does not arrive in the daemon', 'The daemon uses another database, or is not connected to it: '
            .'compare its database.* with DB_HOST and DB_DATABASE, and read its log.');
    }

    /** @param  array<string, mixed>  $query */
    private function refusal(string $path, array $query): ?ScopewireException
    {
        try {
            $this->client->throwing()->get($path, $query);
        } catch (ScopewireException $e) {
            return $e;
        }

        return null;
    }

    private function plain(string $path, bool $isServer = false): Response
    {
        $s = $this->of();
        $request = $this->http->timeout($s->timeout)->connectTimeout($s->connectTimeout)->acceptJson();

        return ($isServer ? $request->withBasicAuth($s->key, $s->secret) : $request)->get($s->origin.$s->path.$path);
    }

    private function isOfDaemon(Response $answer): bool
    {
        return ! in_array($answer->status(), [405, 502, 504], true)
            && (is_array($answer->json()) || ! str_contains((string) $answer->header('Content-Type'), 'html'))
            && ! ($answer->status() === 404 && ! is_array($answer->json()) && ! str_contains($answer->body(), 'app'));
    }

    private function of(): Settings
    {
        return $this->client->settings();
    }
}
