<?php
// SPDX-License-Identifier: MIT
// usage: php direct.php VENDOR HOST PORT KEY SECRET ID  with [[METHOD, ARGUMENTS...], ...] on stdin
// Calls pusher-php-server's methods one after another; answers a JSON list of what each gave.
[, $vendor, $host, $port, $key, $secret, $id] = $argv;
require "$vendor/autoload.php";

$pusher = new Pusher\Pusher($key, $secret, $id,
    ['host' => $host, 'port' => (int) $port, 'scheme' => 'http', 'useTLS' => false]);
$answers = [];
foreach (json_decode(stream_get_contents(STDIN), true) as $call) {
    $method = array_shift($call);
    try {
        $result = $pusher->$method(...$call);
        $answers[] = ['result' => $result instanceof Pusher\Webhook
            ? ['time_ms' => $result->get_time_ms(), 'events' => $result->get_events()] : $result];
    } catch (Throwable $e) {
        $answers[] = ['error' => $e->getMessage(), 'class' => $e::class, 'code' => $e->getCode()];
    }
}
echo json_encode($answers);
