<?php
// SPDX-License-Identifier: MIT
namespace App\Providers;

use App\Models\User;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Broadcast;
use Illuminate\Support\ServiceProvider;

class AppServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        // Laravel's documentation requires this option where encrypted channels are used.
        config(['broadcasting.connections.reverb.options.encryption_master_key_base64' => base64_encode(str_repeat('k', 32))]);
    }

    public function boot(): void
    {
        Broadcast::resolveAuthenticatedUserUsing(fn (Request $request) => [
            'id' => (string) $request->user()->id,
            'user_info' => ['name' => $request->user()->name],
        ]);
    }
}
