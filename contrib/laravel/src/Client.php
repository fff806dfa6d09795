<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel;

use Illuminate\Http\Client\ConnectionException;
use Illuminate\Http\Client\Factory;
use Illuminate\Http\Client\Response;
use JsonException;
use Psr\Log\LoggerInterface;
use Pusher\Pusher;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Support\EventKeys;
use Scopewire\Laravel\Support\Settings;

/**
 * Calls the daemon's sync API as the application's server.
 *
 * A call takes no longer than the timeout.  A call that fails is logged, each reason once, and
 * returns an empty array; with throw it throws.  After a call that did not reach the daemon, others
 * fail at once for retry_after seconds, so that a page waits for one timeout at most.  One instance
 * serves one request or job: it is bound as scoped.
 *
 * Writes of a job of a queue have an idempotency key, so that a retried job does not repeat them.
 */
class Client
{
    private float $unreachableUntil = 0;

    /** @var array<string, true> reasons that were logged */
    private array $logged = [];

    private bool $throw;

    /** Seconds of a call, where they are fewer than those of the settings. */
    private float $limit = INF;

    public function __construct(
        private readonly Settings $settings,
        private readonly Factory $http,
        private readonly LoggerInterface $log,
        private readonly ?EventKeys $keys = null,
    ) {
        $this->throw = $settings->throw;
    }

    /** A client that throws a ScopewireException where this one returns an empty result. */
    public function throwing(bool $throw = true): static
    {
        $other = clone $this;
        $other->throw = $throw;

        return $other;
    }

    /** A client whose calls take no longer than these seconds. */
    public function within(float $seconds): static
    {
        $other = clone $this;
        $other->limit = $seconds;

        return $other;
    }

    public function settings(): Settings
    {
        return $this->settings;
    }

    /**
     * @param array<string, mixed> $query
     * @return array<string, mixed>
     */
    public function get(string $path, array $query = []): array
    {
        return $this->call('GET', $path, $query);
    }

    /**
     * @param array<string, mixed> $body
     * @return array<string, mixed>
     */
    public function post(string $path, array $body = []): array
    {
        return $this->call('POST', $path, [], $body);
    }

    /**
     * @param array<string, mixed> $body
     * @return array<string, mixed>
     */
    public function put(string $path, array $body = []): array
    {
        return $this->call('PUT', $path, [], $body);
    }

    /**
     * @param array<string, mixed> $query
     * @param array<string, mixed>|null $body
     * @return array<string, mixed>
     */
    public function call(string $method, string $path, array $query = [], ?array $body = null): array
    {
        $what = $method.' '.$path;
        try {
            return $this->answer($this->send($method, $path, $this->given($query),
                $body === null ? null : $this->given($body)));
        } catch (ScopewireException $e) {
            return $this->fail($what, $e);
        }
    }

    /**
     * What a failed call does: it throws, or is logged and has an empty result.
     *
     * @return array{}
     */
    public function fail(string $what, ScopewireException $e): array
    {
        // A retried job whose content differs now: what its first attempt wrote counts.
        if ($this->throw && ! ($e->error === 'idempotency_key_reused' && $this->keys?->isInJob())) {
            throw $e;
        }
        $reason = $e->status === 0 ? $e->error : $what.' '.$e->status.' '.$e->error;
        if (! isset($this->logged[$reason])) {
            $this->logged[$reason] = true;
            $this->log->warning('Scopewire: '.$what.': '.$e->getMessage());
        }

        return [];
    }

    /**
     * Fields that are null are left out.
     *
     * @param array<string, mixed> $fields
     * @return array<string, mixed>
     */
    private function given(array $fields): array
    {
        return array_filter($fields, fn ($value) => $value !== null);
    }

    /**
     * @param array<string, mixed> $query
     * @param array<string, mixed>|null $body
     */
    private function send(string $method, string $path, array $query, ?array $body): Response
    {
        if (microtime(true) < $this->unreachableUntil) {
            throw new ScopewireException('the daemon was unreachable a moment ago');
        }
        $s = $this->settings;
        foreach ($s->faults as $fault) {
            if (! isset($this->logged[$fault])) {
                $this->logged[$fault] = true;
                $this->log->warning('Scopewire: '.$fault);
            }
        }
        $request = $this->http->timeout(min($s->timeout, $this->limit))
            ->connectTimeout(min($s->connectTimeout, $this->limit))->acceptJson();
        try {
            $text = $body === null ? null : json_encode($body ?: (object) [], JSON_THROW_ON_ERROR);
        } catch (JsonException $e) {
            throw new ScopewireException('not sent: '.$e->getMessage(), 0, 'invalid_json', null, $e);
        }
        if ($text !== null) {
            $request->withBody($text, 'application/json');
        }
        if ($text !== null && $this->keys?->isInJob()) {
            $request->withHeader('Idempotency-Key', $this->keys->next());
        }
        if ($s->auth === 'signed') {
            // SDKs sign GET and POST only; PUT has an equivalent POST there.
            $method = $method === 'PUT' ? 'POST' : $method;
            $path = '/apps/'.rawurlencode($s->appId).'/sync/'.$path;
            $query = Pusher::build_auth_query_params($s->key, $s->secret, $method, $path,
                $text === null ? $query : $query + ['body_md5' => md5($text)]);
        } else {
            $path = '/api/sync/'.$path;
            $request->withBasicAuth($s->key, $s->secret);
        }
        $url = $s->origin.$s->path.$path;
        if ($query !== []) {
            $url .= '?'.http_build_query($query, '', '&', PHP_QUERY_RFC3986);
        }

        try {
            return $request->send($method, $url);
        } catch (ConnectionException $e) {
            $this->unreachableUntil = microtime(true) + $s->retryAfter;

            throw new ScopewireException('no answer from '.$s->origin.': '.$e->getMessage(), 0,
                'unreachable', null, $e);
        }
    }

    /** @return array<string, mixed> */
    private function answer(Response $response): array
    {
        $json = $response->json();
        if ($response->successful() && is_array($json)) {
            return $json;
        }
        $error = is_array($json) ? ($json['error'] ?? null) : null;
        $code = is_array($error) ? (string) ($error['code'] ?? '') : '';
        $field = is_array($error) && isset($error['field']) ? (string) $error['field'] : null;
        $message = is_array($error) ? (string) ($error['message'] ?? '') : trim(substr($response->body(), 0, 200));

        throw new ScopewireException("{$response->status()} $code: $message"
            .($field === null ? '' : " (field $field)"), $response->status(), $code ?: 'unknown', $field);
    }
}
