<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Http\Controllers;

use Illuminate\Contracts\Config\Repository;
use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Date;
use Scopewire\Laravel\Support\Settings;
use Scopewire\Laravel\Webhooks;

/**
 * Turns the daemon's webhooks into events of Laravel.  If a listener throws, the answer is an error,
 * and the daemon sends the request again.
 */
class WebhooksController
{
    /** @var array<string, class-string<Webhooks\Webhook>> */
    private const EVENTS = [
        'channel_occupied' => Webhooks\ChannelOccupied::class,
        'channel_vacated' => Webhooks\ChannelVacated::class,
        'member_added' => Webhooks\MemberAdded::class,
        'member_removed' => Webhooks\MemberRemoved::class,
        'client_event' => Webhooks\ClientEvent::class,
        'cache_miss' => Webhooks\CacheMiss::class,
        'subscription_count' => Webhooks\SubscriptionCount::class,
        'notification_undelivered' => Webhooks\NotificationUndelivered::class,
    ];

    public function __invoke(Request $request, Repository $config, Dispatcher $events): JsonResponse
    {
        if (! $this->isSigned($request, Settings::of($config))) {
            return new JsonResponse(['message' => 'The signature is not one of this application: compare '
                .'scopewire.key and scopewire.secret with those of the daemon.'], 401);
        }
        $body = json_decode($request->getContent(), true);
        if (! is_array($body) || ! is_array($body['events'] ?? null)) {
            return new JsonResponse(['message' => 'The body has no list "events".'], 400);
        }
        $timeMs = (int) ($body['time_ms'] ?? 0);
        $maxAge = (int) $config->get('scopewire.webhooks.max_age', 300);
        if ($maxAge > 0 && abs(Date::now()->getTimestampMs() - $timeMs) > $maxAge * 1000) {
            return new JsonResponse(['message' => "The request was made more than $maxAge s ago, or ahead: someone repeats it, or "
                .'a clock is wrong.  See scopewire.webhooks.max_age.'], 401);
        }
        foreach ($body['events'] as $event) {
            // A daemon that is newer than this package may have further events.
            $class = is_array($event) ? self::EVENTS[$event['name'] ?? ''] ?? null : null;
            if ($class !== null) {
                $events->dispatch(new $class((string) ($event['channel'] ?? ''), $timeMs, $event));
            }
        }

        return new JsonResponse(['received' => count($body['events'])]);
    }

    private function isSigned(Request $request, Settings $settings): bool
    {
        return $settings->secret !== '' && hash_equals($settings->key, (string) $request->header('X-Pusher-Key'))
            && hash_equals(hash_hmac('sha256', $request->getContent(), $settings->secret),
                (string) $request->header('X-Pusher-Signature'));
    }
}
