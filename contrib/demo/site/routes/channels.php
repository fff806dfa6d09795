<?php

// SPDX-License-Identifier: MIT

// Who may join which channel.  contrib/demo/run writes the same rules to the daemon's table, with
// `php artisan scopewire:rules`.

use Scopewire\Laravel\Facades\Scopewire;

$channels = Scopewire::channels();
$channels->owner('App.Models.User.{id}')->anyone('online')->role('admin', 'admin');
foreach (['client.{id}', 'project.{id}'] as $pattern) {
    $channels->role($pattern, 'admin', canWrite: true);
}
$channels->sql('client.{id}', 'EXISTS (SELECT FROM public.client_user WHERE client_id = {id}::bigint AND user_id = {user})');
$channels->sql('project.{id}', 'EXISTS (SELECT FROM public.projects p JOIN public.client_user c USING (client_id)'
    .' WHERE p.id = {id}::bigint AND c.user_id = {user})', canWrite: true);
