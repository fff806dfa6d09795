<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Broadcasting;

use Illuminate\Broadcasting\Broadcasters\PusherBroadcaster;
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Container\Container;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Http\Request;
use Illuminate\Support\Arr;
use JsonException;
use Psr\Http\Client\ClientExceptionInterface;
use Pusher\ApiErrorException;
use Pusher\Pusher;
use Pusher\PusherCrypto;
use Pusher\PusherException;
use Scopewire\Laravel\Exceptions\ScopewireException;
use Scopewire\Laravel\Support\Database;
use Scopewire\Laravel\Support\EventKeys;
use Scopewire\Laravel\Support\Transaction;
use Symfony\Component\HttpKernel\Exception\BadRequestHttpException;
use Symfony\Component\HttpKernel\Exception\HttpExceptionInterface;

/**
 * Laravel's Pusher broadcaster, which in a transaction of the daemon's database writes the event
 * through that transaction.  Otherwise the event is sent over HTTP, with an idempotency key.
 */
class ScopewireBroadcaster extends PusherBroadcaster
{
    private const CHANNELS_A_CALL = 100;

    /** The answer to an idempotency key that was used for another content. */
    private const KEY_WAS_USED = 422;

    public function __construct(
        Pusher $pusher,
        private readonly Database $database,
        private readonly EventKeys $keys,
        private readonly string $masterKey = '',
        bool $allowJsonp = false,
    ) {
        parent::__construct($pusher, $allowJsonp);
    }

    /**
     * Authorizes one channel, or, with channel_names[], up to 100 at once: each by the same rules and
     * guards as alone.
     *
     * @param Request $request
     */
    public function auth($request): mixed
    {
        $names = $request->input('channel_names');
        if ($names === null) {
            return parent::auth($request);
        }
        if (! is_array($names) || count($names) > self::CHANNELS_A_CALL
            || array_filter($names, fn ($name) => ! is_string($name) || $name === '') !== []) {
            throw new BadRequestHttpException('channel_names is a list of at most '.self::CHANNELS_A_CALL.' names of channels.');
        }
        $answers = [];
        foreach (array_unique($names) as $name) {
            $answers[$name] = $this->authorizeOne($request, $name);
        }

        return ['channels' => (object) $answers];
    }

    /** The answer for one channel of several: that of a request for it alone, or its status. */
    private function authorizeOne(Request $request, string $name): mixed
    {
        $one = $request->duplicate();
        $one->setJson(clone $request->json());
        $one->merge(['channel_name' => $name]);
        $container = Container::getInstance();
        $container->instance('request', $one);
        try {
            return parent::auth($one);
        } catch (HttpExceptionInterface $e) {
            return ['status' => $e->getStatusCode(), 'message' => $e->getMessage() ?: "$name is not open to this user."];
            // @phpstan-ignore catch.neverThrown (parent::auth() calls validAuthenticationResponse() below)
        } catch (ScopewireException $e) {
            // A key that is wrong is no reason to refuse the other channels.
            $container->make(ExceptionHandler::class)->report($e);

            return ['status' => 500, 'message' => "$name cannot be authorized; the application's log has the reason."];
        } finally {
            $container->instance('request', $request);
        }
    }

    /**
     * The user may join.  Without the key of encrypted channels, Pusher's library would throw an exception that
     * does not name the setting.
     *
     * @param Request $request
     *
     * @throws ScopewireException
     */
    public function validAuthenticationResponse($request, $result): mixed
    {
        $name = (string) $request->input('channel_name');
        if (self::isEncrypted($name)) {
            $this->requireMasterKey($name);
        }

        return parent::validAuthenticationResponse($request, $result);
    }

    /**
     * @param array<int, mixed> $channels
     * @param string $event
     * @param array<string, mixed> $payload
     *
     * @throws BroadcastException
     */
    public function broadcast(array $channels, $event, array $payload = []): void
    {
        $socket = Arr::pull($payload, 'socket');
        $names = array_values(array_unique(array_map(strval(...), $this->formatChannels($channels))));
        if ($names === []) {
            return;
        }
        $key = $this->keys->next();
        try {
            if ($transaction = $this->database->transaction()) {
                $this->write($transaction, $names, $event, $payload, $socket, $key);
            } else {
                $this->send($names, $event, $payload, $socket, $key);
            }
        } catch (ApiErrorException $e) {
            throw new BroadcastException(sprintf('Pusher error: %s.', rtrim($e->getMessage(), '.')), $e->getCode(), $e);
        } catch (ScopewireException|PusherException|ClientExceptionInterface|JsonException $e) {
            throw new BroadcastException('Scopewire: '.$e->getMessage(), 0, $e);
        }
    }

    /**
     * @param non-empty-list<string> $channels
     * @param array<string, mixed> $payload
     */
    private function write(Transaction $transaction, array $channels, string $event, array $payload, ?string $socket, string $key): void
    {
        $plain = json_encode($payload, JSON_THROW_ON_ERROR);
        $events = [];
        foreach ($channels as $number => $channel) {
            // Each channel is a row; an id for each is needed where a retried job can repeat it.
            $id = $this->keys->isInJob() ? "$key.$number" : null;
            $events[] = [$channel, self::isEncrypted($channel) ? $this->encrypted($channel, $plain) : $plain, $id];
        }
        $transaction->broadcast($event, $events, $socket);
    }

    /**
     * @param non-empty-list<string> $channels
     * @param array<string, mixed> $payload
     */
    private function send(array $channels, string $event, array $payload, ?string $socket, string $key): void
    {
        $parameters = $socket === null ? [] : ['socket_id' => $socket];
        // An encrypted channel has a key of its own, so each is a call of its own.
        $encrypted = array_filter($channels, self::isEncrypted(...));
        $calls = [...array_chunk(array_values(array_diff($channels, $encrypted)), self::CHANNELS_A_CALL),
            ...array_map(fn ($channel) => [$channel], array_values($encrypted))];
        foreach ($calls as $number => $names) {
            if (self::isEncrypted($names[0])) {
                $this->requireMasterKey($names[0]);
            }
            try {
                $this->pusher->trigger($names, $event, $payload, $parameters + ['idempotency_key' => "$key.$number"]);
            } catch (ApiErrorException $e) {
                // The job's earlier attempt has sent this event, with the content of that time.
                if ($e->getCode() !== self::KEY_WAS_USED || ! $this->keys->isInJob()) {
                    throw $e;
                }
            }
        }
    }

    private function encrypted(string $channel, string $payload): string
    {
        $this->requireMasterKey($channel);

        return (new PusherCrypto((string) base64_decode($this->masterKey, true)))->encrypt_payload($channel, $payload);
    }

    private function requireMasterKey(string $channel): void
    {
        if (! self::isMasterKey($this->masterKey)) {
            throw new ScopewireException("$channel is encrypted, and ".($this->masterKey === '' ? 'there is no encryption master key'
                : 'the encryption master key is not 32 bytes in base64').': set SCOPEWIRE_ENCRYPTION_MASTER_KEY to that of the daemon, which '
                .'"openssl rand -base64 32" makes, and run php artisan config:clear', 0, 'no_master_key');
        }
    }

    /** Whether a text is a key of encrypted channels: 32 bytes in base64. */
    public static function isMasterKey(string $key): bool
    {
        return strlen((string) base64_decode($key, true)) === SODIUM_CRYPTO_SECRETBOX_KEYBYTES;
    }

    private static function isEncrypted(string $channel): bool
    {
        return str_starts_with($channel, 'private-encrypted-');
    }
}
