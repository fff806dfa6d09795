---
name: scopewire-development
description: Broadcast events in transactions, presence, activity feeds, notifications, channel rules and offline data with scopewire/laravel
---
{{-- SPDX-License-Identifier: MIT --}}
# Development with scopewire/laravel

## When to use this skill

Use it when the application broadcasts events, shows who is online or views a record, keeps an activity feed, sends
notifications to browsers, or syncs models that are edited offline.

## Rules

- An event class of Laravel needs no changes. Implement `Scopewire\Laravel\Broadcasting\BroadcastsInTransaction` for an
  event that must be delivered exactly when its transaction commits.
- Changes of a model with `SyncsOffline` are published in the transaction that writes them, if `SCOPEWIRE_DB_CONNECTIONS`
  names its connection: do not publish them after the commit. `increment()`, `saveQuietly()` and mass updates are not
  published; call `Scopewire::data()->publish($model)` in their transaction.
- Services return an empty result when the daemon cannot be reached. Call `->throw()` where a failure matters.
- Do not send a notification that implements `ShouldQueue` by `RealtimeNotificationService`.
- Rules of channels are in `routes/channels.php`, by `Scopewire::channels()`. After a change run
  `php artisan scopewire:rules`.
- In tests call `Scopewire::fake()`, then `assertPublished()`, `assertNotPublished()` and `assertNotified()`.
- When something does not work run `php artisan scopewire:check`: it names what is wrong and the remedy.

## Examples

```php
DB::transaction(function () use ($invoice) {
    $invoice->update(['status' => 'paid']);
    event(new InvoiceStatusChanged($invoice, 'sent'));
});

Scopewire::presence()->setOnline($user, 'Projects');
Scopewire::activities()->addActivity(type: 'invoice_paid', user: $user, metadata: ['client_id' => $invoice->client_id]);
Scopewire::notifications()->notify($user, ['title' => 'Paid', 'message' => 'Invoice '.$invoice->number]);
```
