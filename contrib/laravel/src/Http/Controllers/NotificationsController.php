<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Http\Controllers;

use Carbon\CarbonInterface;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Notifications\DatabaseNotification;
use Illuminate\Support\Arr;

/**
 * Laravel's own table of notifications, in the format of the daemon's GET /api/sync/notifications and POST
 * notifications/read: for the bell of a page whose notifications are sent via "database".
 */
class NotificationsController
{
    private const PAGE = 20;

    public function index(Request $request): JsonResponse
    {
        $user = $this->user($request);
        // Newest first, by Laravel; ids make the order of one second definite.
        $list = $request->boolean('unread') ? $user->unreadNotifications() : $user->notifications();
        $page = $list->orderByDesc('id')->cursorPaginate(self::PAGE);

        return new JsonResponse(['notifications' => array_map($this->one(...), $page->items()),
            'unread' => $user->unreadNotifications()->count(), 'next_cursor' => $page->nextCursor()?->encode()], 200,
            ['Cache-Control' => 'no-store, private']);
    }

    public function read(Request $request): JsonResponse
    {
        $user = $this->user($request);
        $fields = $request->validate([
            'all' => ['required_without:ids', 'in:1'],
            'ids' => ['required_without:all', 'array', 'list', 'max:1000'],
            'ids.*' => ['uuid'],
        ]);
        $unread = $user->unreadNotifications();
        (isset($fields['ids']) ? $unread->whereIn('id', $fields['ids']) : $unread)->update(['read_at' => now()]);

        return new JsonResponse(['unread' => $user->unreadNotifications()->count()]);
    }

    /** A model with the trait Notifiable. */
    private function user(Request $request): mixed
    {
        $user = $request->user();
        abort_if($user === null, 401);
        abort_unless(method_exists($user, 'unreadNotifications'), 404);

        return $user;
    }

    /** @return array<string, mixed> */
    private function one(DatabaseNotification $notification): array
    {
        $row = $notification->only(['id', 'type', 'data', 'read_at', 'created_at']);
        $data = (array) $row['data'];
        $iso = fn (?CarbonInterface $time): ?string => $time?->toIso8601ZuluString();

        return ['id' => $row['id'], 'type' => $row['type'], 'title' => (string) ($data['title'] ?? ''),
            'message' => $data['message'] ?? $data['body'] ?? null, 'data' => (object) Arr::except($data, ['title', 'message', 'body']),
            'read_at' => $iso($row['read_at']), 'created_at' => $iso($row['created_at'])];
    }
}
