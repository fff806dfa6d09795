<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Checks;

use Scopewire\Laravel\Support\Settings;

/** A WebSocket connection as a browser opens it, up to the first frame. */
class Handshake
{
    public function __construct(private readonly Settings $settings)
    {
    }

    /** The first bytes of the answer: head and first frame; empty if there was none. */
    public function answer(string $origin): string
    {
        $s = $this->settings;
        $url = parse_url($s->origin);
        $host = $url['host'] ?? '127.0.0.1';
        $address = (($url['scheme'] ?? 'http') === 'https' ? 'ssl://' : 'tcp://').$host.':'.($url['port'] ?? 80);
        $stream = @stream_socket_client($address, $code, $message, $s->connectTimeout);
        if ($stream === false) {
            return '';
        }
        fwrite($stream, "GET $s->path/app/$s->key?protocol=7&client=scopewire-check&version=1 HTTP/1.1\r\n"
            .'Host: '.$host.':'.($url['port'] ?? 80)."\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            ."Sec-WebSocket-Version: 13\r\nOrigin: $origin\r\nSec-WebSocket-Key: ".base64_encode(random_bytes(16))."\r\n\r\n");
        $bytes = '';
        $end = microtime(true) + $s->timeout;
        while (! preg_match('/"event":|\r\n\r\n.*(<\/html>|})/s', $bytes) && ($left = $end - microtime(true)) > 0) {
            stream_set_timeout($stream, (int) $left, (int) (($left - (int) $left) * 1e6));
            $more = fread($stream, 4096);
            if ($more === false || $more === '') {
                break;
            }
            $bytes .= $more;
        }
        fclose($stream);

        return $bytes;
    }
}
