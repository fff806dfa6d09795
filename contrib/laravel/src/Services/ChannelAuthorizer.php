<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Services;

use Illuminate\Http\Request;
use Scopewire\Laravel\Support\Users;

/** Answers Laravel's /broadcasting/auth by the rules of ChannelAuthorizationService. */
class ChannelAuthorizer
{
    public function __construct(
        private readonly ChannelAuthorizationService $rules,
        private readonly Users $users,
        private readonly Request $request,
    ) {
    }

    /**
     * @param string ...$values of the pattern's placeholders; the channel's name has them too
     * @return array<string, mixed>|bool what other members of a presence channel see of the user
     */
    public function join(mixed $user, string ...$values): array|bool
    {
        $channel = (string) $this->request->input('channel_name');
        if (! $this->rules->can($user, $channel)) {
            return false;
        }
        $member = ['id' => $this->users->id($user), 'name' => $this->users->name($user), 'avatar' => $this->users->avatar($user)];

        return array_filter($member, fn ($value) => $value !== null);
    }
}
