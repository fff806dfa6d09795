<?php

// SPDX-License-Identifier: MIT

return [

    /*
     * The application, as the daemon knows it, and where the daemon is.  An application that was
     * configured for Reverb needs no other variables.
     */
    'app_id' => env('SCOPEWIRE_APP_ID', env('REVERB_APP_ID')),
    'key' => env('SCOPEWIRE_APP_KEY', env('REVERB_APP_KEY')),
    'secret' => env('SCOPEWIRE_APP_SECRET', env('REVERB_APP_SECRET')),
    'host' => env('SCOPEWIRE_HOST', env('REVERB_HOST', '127.0.0.1')),
    'port' => (int) env('SCOPEWIRE_PORT', env('REVERB_PORT', 8080)),
    'scheme' => env('SCOPEWIRE_SCHEME', env('REVERB_SCHEME', 'http')),

    // The daemon's server.path, such as /ws; or that of a proxy.
    'path' => env('SCOPEWIRE_PATH', ''),

    // The daemon's sync.user_id: bigint, or text for UUIDs and ULIDs; then ids that are digits stay text.
    // The daemon reads SCOPEWIRE_SYNC_USER_ID.
    'user_id' => env('SCOPEWIRE_USER_ID', 'bigint'),

    // Of encrypted channels: 32 bytes in base64, the daemon's encryption_master_key.
    'encryption_master_key' => env('SCOPEWIRE_ENCRYPTION_MASTER_KEY'),

    // "basic" sends key and secret; "signed" signs each call as the Pusher API requires.
    'auth' => env('SCOPEWIRE_AUTH', 'basic'),

    /*
     * Failures.  A call never takes longer than timeout, in seconds; a value that is not greater than 0 is
     * replaced by 3 (connect_timeout: 1), with a line in the log.  A failed call is logged once
     * and returns an empty result; with throw it throws a ScopewireException instead.  After a call
     * that did not reach the daemon, further calls of the same request fail at once for retry_after.
     */
    'timeout' => (float) env('SCOPEWIRE_TIMEOUT', 3),
    'connect_timeout' => (float) env('SCOPEWIRE_CONNECT_TIMEOUT', 1),
    'retry_after' => 5,
    'throw' => (bool) env('SCOPEWIRE_THROW', false),

    /*
     * The database.  Connections whose database the daemon uses too: in a transaction of one of
     * them, events, activities, notifications and changes of models with SyncsOffline are written
     * through that transaction, and exist only if it commits.  A list, or names separated by commas; empty: everything goes over HTTP.
     * rules_connection belongs to the owner of the schema, who alone writes channel rules.
     */
    'database' => [
        'connections' => env('SCOPEWIRE_DB_CONNECTIONS', ''),
        'schema' => env('SCOPEWIRE_DB_SCHEMA', 'scopewire'),
        'rules_connection' => env('SCOPEWIRE_DB_RULES_CONNECTION'),
    ],

    /*
     * Tokens of users.  Without a secret, the key is made of the application's secret, as the daemon
     * does; set it to the daemon's token_secret if that is set.  ttl is in seconds.
     */
    'token' => [
        'secret' => env('SCOPEWIRE_TOKEN_SECRET'),
        'ttl' => (int) env('SCOPEWIRE_TOKEN_TTL', 3600),
    ],

    // The package's routes, such as /scopewire/token.
    'routes' => [
        'enabled' => true,
        'prefix' => 'scopewire',
        'middleware' => ['web', 'auth'],
    ],

    /*
     * Where the daemon's webhooks arrive; they become the events of Scopewire\Laravel\Webhooks.  The
     * request is verified by its signature, so the route needs no middleware.  Each attempt of the
     * daemon has its own time; one that differs from that of this machine by more than max_age, in
     * seconds, is refused, so that an old request cannot be repeated.  0: none is.
     */
    'webhooks' => [
        'enabled' => true,
        'path' => 'scopewire/webhooks',
        'middleware' => [],
        'max_age' => (int) env('SCOPEWIRE_WEBHOOK_MAX_AGE', 300),
    ],

    /*
     * The middleware TrackPresence: at most one heartbeat of a user in interval seconds, a third of the
     * daemon's sync.presence_ttl_s or less; none for pause seconds after the daemon was not reached.  It is
     * sent after the response, but PHP's process serves no other page meanwhile: it takes no longer than
     * timeout, in seconds, at least 0.05.
     */
    'presence' => [
        'interval' => 30,
        'pause' => 30,
        'timeout' => 0.5,
    ],

    // Models with the trait SyncsOffline, which clients may change by POST /scopewire/changes.
    'offline' => [],

    // The class that reads id, name, avatar and roles of a user; it extends the one named here.
    'users' => Scopewire\Laravel\Support\Users::class,

];
