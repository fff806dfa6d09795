<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Notifications;

use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\PrivateChannel;
use Illuminate\Notifications\Notification;
use Illuminate\Support\Arr;
use InvalidArgumentException;
use Psr\Log\LoggerInterface;
use Scopewire\Laravel\Services\RealtimeNotificationService;
use Scopewire\Laravel\Support\Users;

/**
 * The notification channel "scopewire": the daemon stores the message and sends it at once.  The
 * message is what toScopewire() returns, or else toArray(): title, message or body; all else is its
 * data.
 */
class ScopewireChannel
{
    public function __construct(
        private readonly RealtimeNotificationService $service,
        private readonly Users $users,
        private readonly LoggerInterface $log,
    ) {
    }

    /** How many users it was sent to. */
    public function send(object $notifiable, Notification $notification): int
    {
        $message = match (true) {
            method_exists($notification, 'toScopewire') => $notification->toScopewire($notifiable),
            method_exists($notification, 'toArray') => $notification->toArray($notifiable),
            default => throw new InvalidArgumentException($notification::class.' needs a method toScopewire().'),
        };
        if (! is_array($message) || ! is_string($message['title'] ?? null) || $message['title'] === '') {
            throw new InvalidArgumentException($notification::class
                .' has no title: toScopewire() returns an array with title, and with message or body.');
        }
        $data = (array) ($message['data'] ?? []) + array_diff_key($message, array_flip(['title', 'message', 'body', 'type', 'data']));
        $to = method_exists($notifiable, 'routeNotificationFor') ? $notifiable->routeNotificationFor('scopewire', $notification) : null;

        return $this->service->send([$this->users->id($to ?? $notifiable)], [
            'title' => $message['title'], 'message' => $message['message'] ?? $message['body'] ?? null,
            'type' => $message['type'] ?? $notification::class, 'data' => $data, 'channel' => $this->channelOf($notifiable, $notification),
        ]);
    }

    /**
     * That of a notifiable which has a channel of its own for broadcasts, as Laravel's channel "broadcast" reads it.
     * On a public or an encrypted channel the daemon broadcasts no notification; on those of the user instead.
     */
    private function channelOf(object $notifiable, Notification $notification): ?string
    {
        if (! method_exists($notifiable, 'receivesBroadcastNotificationsOn')) {
            return null;
        }
        $name = Arr::first(Arr::wrap($notifiable->receivesBroadcastNotificationsOn()));

        if ($name === null || $name === '') {
            return null;
        }
        $channel = (string) ($name instanceof Channel ? $name : new PrivateChannel($name));
        if (preg_match('/^(private-(?!encrypted-)|presence-)/', $channel) === 1) {
            return $channel;
        }
        $this->log->warning('scopewire: '.$notifiable::class." receives notifications on the channel $channel, which is neither "
            .'private nor presence; '.$notification::class.' was broadcast on the channels of the user.');

        return null;
    }
}
