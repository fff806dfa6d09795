<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Http\Controllers;

use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Scopewire\Laravel\Services\OfflineChanges;

/** Mutations of a client's queue, in the format of the daemon's POST /api/sync/changes. */
class ChangesController
{
    public function __invoke(Request $request, OfflineChanges $changes): JsonResponse
    {
        $fields = $request->validate([
            'client_id' => ['required', 'string', 'max:64'],
            'mutations' => ['required', 'array', 'list', 'min:1', 'max:100'],
            'mutations.*' => ['array'],
            'socket_id' => ['nullable', 'string'],
        ]);

        return new JsonResponse(['results' => $changes->apply($request->user(), $fields['client_id'],
            $request->input('mutations'), $fields['socket_id'] ?? null)]);
    }
}
