<?php

// SPDX-License-Identifier: MIT

// The channels of the portal, as an example to start from.  Each pattern is for private and presence
// channels.  The channel "portal" is public, and needs no rule.

use Scopewire\Laravel\Facades\Scopewire;

$channels = Scopewire::channels();

// A user's own messages and timer.  Both spellings of the first are in use.
$channels->owner('App.Models.User.{id}')->owner('User.{id}')->owner('timer.{userId}', 'userId', canWrite: true)
    ->role('timer.{userId}', ['admin', 'manager'], canWrite: true);

// Every user sees the others.  join('presence.online') and join('online') are both in use.
$channels->anyone('online')->anyone('presence.online');

// Administrators: a channel of their own, and all others.
$channels->role('admin', 'admin');
foreach (['client.{id}', 'presence.client.{id}', 'project.{id}', 'invoice.{id}', 'document.{id}', 'timesheet.{id}', 'workflow.{id}'] as $pattern) {
    $channels->role($pattern, 'admin', canWrite: true);
}

// All other users, by the portal's tables, each with its schema.
foreach (['client.{id}', 'presence.client.{id}'] as $pattern) {
    $channels->sql($pattern, 'EXISTS (SELECT FROM public.client_user WHERE client_id = {id}::bigint AND user_id = {user})');
}
$channels->sql('project.{id}', 'EXISTS (SELECT FROM public.project_user WHERE project_id = {id}::bigint AND user_id = {user})'
    .' OR EXISTS (SELECT FROM public.projects p JOIN public.client_user c USING (client_id) WHERE p.id = {id}::bigint AND c.user_id = {user})', canWrite: true);
$channels->sql('invoice.{id}', 'EXISTS (SELECT FROM public.invoices i JOIN public.client_user c USING (client_id)'
    .' WHERE i.id = {id}::bigint AND c.user_id = {user})');
$channels->sql('document.{id}', 'EXISTS (SELECT FROM public.documents d JOIN public.project_user m USING (project_id)'
    .' WHERE d.id = {id}::bigint AND m.user_id = {user})', canWrite: true);
$channels->sql('timesheet.{id}', 'EXISTS (SELECT FROM public.timesheets WHERE id = {id}::bigint AND user_id = {user})', canWrite: true);
$channels->sql('workflow.{id}', 'EXISTS (SELECT FROM public.workflows w JOIN public.project_user m USING (project_id)'
    .' WHERE w.id = {id}::bigint AND m.user_id = {user})', canWrite: true);
