<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests;

use RuntimeException;

/** A client of the Pusher protocol, as far as tests need one. */
final class WebSocket
{
    private const DEADLINE_S = 60;

    /** @var resource */
    private $stream;

    private string $unread = '';

    public readonly string $socketId;

    public function __construct(int $port, string $key)
    {
        $this->stream = stream_socket_client("tcp://127.0.0.1:$port");
        stream_set_timeout($this->stream, self::DEADLINE_S);
        fwrite($this->stream, "GET /app/$key?protocol=7&client=test&version=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            ."Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
            .base64_encode(random_bytes(16))."\r\n\r\n");
        while (! str_contains($this->unread, "\r\n\r\n")) {
            $this->read();
        }
        $this->unread = explode("\r\n\r\n", $this->unread, 2)[1];
        $this->socketId = json_decode($this->next('pusher:connection_established')['data'], true)['socket_id'];
    }

    /** @param  array<string, mixed>  $more auth, channel_data */
    public function subscribe(string $channel, array $more = []): self
    {
        $this->write(json_encode(['event' => 'pusher:subscribe', 'data' => ['channel' => $channel] + $more]));
        $this->next('pusher_internal:subscription_succeeded');

        return $this;
    }

    /** With the signature that the application's server would give. */
    public function join(string $channel, string $key, string $secret): self
    {
        return $this->subscribe($channel, ['auth' => $key.':'.hash_hmac('sha256', "$this->socketId:$channel", $secret)]);
    }

    /** A client event. */
    public function trigger(string $channel, string $event, mixed $data): void
    {
        $this->write((string) json_encode(['event' => $event, 'channel' => $channel, 'data' => $data]));
    }

    public function close(): void
    {
        fclose($this->stream);
    }

    /**
     * The next frame with that event; frames before it are dropped.
     *
     * @return array<string, mixed>
     */
    public function next(string $event): array
    {
        do {
            $frame = json_decode($this->frame(), true);
        } while ($frame['event'] !== $event);

        return $frame;
    }

    private function frame(): string
    {
        while (true) {
            $length = strlen($this->unread) < 2 ? null : ord($this->unread[1]);
            $head = match ($length) {
                126 => 4, 127 => 10, default => 2
            };
            if ($length !== null && strlen($this->unread) >= $head) {
                $length = match ($length) {
                    126 => unpack('n', $this->unread, 2)[1],
                    127 => unpack('J', $this->unread, 2)[1],
                    default => $length,
                };
                if (strlen($this->unread) >= $head + $length) {
                    $isText = (ord($this->unread[0]) & 15) === 1;
                    $text = substr($this->unread, $head, $length);
                    $this->unread = substr($this->unread, $head + $length);
                    if ($isText) {
                        return $text;
                    }

                    continue;
                }
            }
            $this->read();
        }
    }

    private function write(string $text): void
    {
        $mask = random_bytes(4);
        $length = strlen($text) < 126 ? chr(128 | strlen($text)) : chr(128 | 126).pack('n', strlen($text));
        fwrite($this->stream, chr(129).$length.$mask.($text ^ str_repeat($mask, intdiv(strlen($text), 4) + 1)));
    }

    private function read(): void
    {
        $bytes = fread($this->stream, 65536);
        if ($bytes === false || $bytes === '') {
            throw new RuntimeException('The daemon closed the connection, or sent nothing.');
        }
        $this->unread .= $bytes;
    }
}
