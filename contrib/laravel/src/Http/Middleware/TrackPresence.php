<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Http\Middleware;

use Closure;
use Illuminate\Contracts\Cache\Repository as Cache;
use Illuminate\Contracts\Config\Repository as Config;
use Illuminate\Http\Request;
use Psr\Log\LoggerInterface;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Services\PresenceService;
use Scopewire\Laravel\Support\Users;
use Symfony\Component\HttpFoundation\Response;
use Throwable;

/**
 * The user that is signed in is online, at the route's name or at a location that is given:
 * TrackPresence::class.':Projects'.
 *
 * A request with the header X-Socket-ID ties the presence to that connection; one without it leaves the presence to
 * the connections that the browser kit has tied it to.
 *
 * The heartbeat is sent after the response.  A user has at most one in each interval.  When the
 * daemon cannot be reached, no request tries it again for presence.pause seconds, and then one at a time
 * until it answers: the others do not wait for it, and leave their users' heartbeats to later requests.
 * A refusal is an answer.  Nothing here breaks a page: a failure is logged.
 */
class TrackPresence
{
    private const LOCATION = 'scopewire.location';

    /** Seconds; 0 would be no limit. */
    private const SHORTEST_TIMEOUT = 0.05;

    public function __construct(
        private readonly PresenceService $presence,
        private readonly Users $users,
        private readonly Cache $cache,
        private readonly Config $config,
        private readonly LoggerInterface $log,
    ) {
    }

    public function handle(Request $request, Closure $next, ?string $location = null): mixed
    {
        $request->attributes->set(self::LOCATION, $location);

        return $next($request);
    }

    public function terminate(Request $request, Response $response): void
    {
        try {
            $this->track($request);
        } catch (Throwable $e) {
            $this->log->warning('Scopewire: the presence of a user was not sent: '.$e->getMessage());
        }
    }

    private function track(Request $request): void
    {
        $user = $request->user();
        if ($user === null) {
            return;
        }
        $prefix = 'scopewire:'.$this->config->get('scopewire.app_id').':';
        if ($this->cache->has($prefix.'away')) {
            return;
        }
        $timeout = max(self::SHORTEST_TIMEOUT, $this->setting('timeout', 0.5));
        $isProbe = $this->cache->has($prefix.'doubt');
        // A heartbeat is two calls at most.
        if ($isProbe && ! $this->cache->add($prefix.'probe', 1, (int) ceil(2 * $timeout) + 1)) {
            return;
        }
        try {
            if ($this->cache->add($prefix.'seen:'.$this->users->id($user), 1, max(1, (int) $this->setting('interval', 30)))) {
                $this->send($request, $prefix, $timeout);
            }
        } finally {
            if ($isProbe) {
                $this->cache->forget($prefix.'probe');
            }
        }
    }

    /** A number of the section presence; what is none counts as the default. */
    private function setting(string $name, float $default): float
    {
        $value = $this->config->get("scopewire.presence.$name");

        return is_numeric($value) ? (float) $value : $default;
    }

    /** One heartbeat; its result decides what the next requests send. */
    private function send(Request $request, string $prefix, float $timeout): void
    {
        $location = $request->attributes->get(self::LOCATION) ?? $request->route()?->getName() ?? '/'.ltrim($request->path(), '/');
        try {
            $this->beat($request->user(), mb_strcut((string) $location, 0, 255), $request->header('X-Socket-ID'), $timeout);
        } catch (ScopewireException $e) {
            if ($e->status === 0 || $e->status >= 500) {
                $this->cache->put($prefix.'away', 1, max(1, (int) $this->setting('pause', 30)));
                $this->cache->put($prefix.'doubt', 1, 3600);
            } else {
                $this->cache->forget($prefix.'doubt');
            }

            throw $e;
        }
        $this->cache->forget($prefix.'doubt');
    }

    /** The tab that sent the request may have closed its connection since: the ttl counts then. */
    private function beat(mixed $user, string $location, mixed $socketId, float $timeout): void
    {
        $presence = $this->presence->throw()->within($timeout);
        $isSocket = is_string($socketId) && preg_match('/\A\d{1,10}\.\d{1,10}\z/', $socketId) === 1;
        try {
            $presence->setOnline($user, $location, socketId: $isSocket ? $socketId : null, keepSockets: ! $isSocket);
        } catch (ScopewireException $e) {
            if ($e->field !== 'socket_id') {
                throw $e;
            }
            $presence->setOnline($user, $location, keepSockets: true);
        }
    }
}
