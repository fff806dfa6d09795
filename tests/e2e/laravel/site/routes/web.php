<?php
// SPDX-License-Identifier: MIT
use App\Events\Announcement;
use App\Events\CommentAdded;
use App\Events\InvoiceCreated;
use App\Events\ReportQueued;
use App\Events\SecretShared;
use App\Models\Invoice;
use App\Models\User;
use App\Notifications\InvoicePaid;
use App\Services\Scopewire;
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\Broadcast;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Route;

Route::get('/login-as/{user}', function (User $user) {
    Auth::login($user);

    return redirect('/portal');
});

Route::middleware('auth')->group(function () {
    Route::view('/portal', 'portal');

    Route::post('/invoices', function (Request $request) {
        $invoice = Invoice::create($request->only('client_id', 'number', 'amount'));
        event(new InvoiceCreated($invoice));

        return $invoice;
    });

    Route::post('/comments', function (Request $request) {
        broadcast(new CommentAdded(1, $request->string('text')))->toOthers();

        return ['ok' => true];
    });

    Route::post('/secrets', function (Request $request) {
        event(new SecretShared($request->string('secret')));

        return ['ok' => true];
    });

    Route::post('/notify/{user}', function (Request $request, User $user) {
        $user->notify(new InvoicePaid($request->string('number')));

        return ['ok' => true];
    });

    Route::post('/announce', function (Request $request) {
        $names = $request->input('channels', ['portal']);
        try {
            event(new Announcement((string) $request->input('text'), $names));
        } catch (BroadcastException $e) {
            return response()->json(['error' => $e->getMessage()], 502);
        }

        return ['ok' => true];
    });

    Route::post('/reports', function (Request $request) {
        event(new ReportQueued((string) $request->input('text')));

        return ['ok' => true];
    });

    // What applications ask of the server by way of the SDK.
    Route::get('/server', fn () => [
        'channels' => Broadcast::driver()->getPusher()->getChannels(),
        'users' => Broadcast::driver()->getPusher()->getPresenceUsers('presence-project.1'),
    ]);

    // The sync API, with key and secret; what it answers, the page gets.
    Route::post('/activities', fn (Request $request, Scopewire $scopewire) => $scopewire->sync()
        ->post('activities', $request->all() + ['user_id' => $request->user()->id])->json());

    // The same API by way of the Pusher SDK, which signs.
    Route::post('/remind/{user}', fn (Request $request, User $user) => (array) Broadcast::driver()
        ->getPusher()->post('/sync/notifications', json_encode(
            ['to' => $user->id, 'title' => 'Reminder', 'body' => $request->string('text')])));
    Route::get('/online', fn () => (array) Broadcast::driver()->getPusher()->get('/sync/online-users'));

    Route::get('/sync-token', fn (Request $request, Scopewire $scopewire) => [
        'token' => $scopewire->token($request->user()), 'url' => 'http://'.env('REVERB_HOST').':'.env('REVERB_PORT').'/api/sync/',
    ]);

    // An invoice and its event in one transaction: both, or neither.
    Route::post('/transaction', function (Request $request) {
        try {
            DB::transaction(function () use ($request) {
                $invoice = Invoice::create($request->only('client_id', 'number', 'amount'));
                DB::select('SELECT scopewire.broadcast(?, ?, ?)', ["private-client.{$invoice->client_id}",
                    'App\\Events\\InvoiceCreated', json_encode(['invoice' => $invoice])]);
                throw_if($request->boolean('fail'), RuntimeException::class, 'changed my mind');
            });
        } catch (RuntimeException $e) {
            return response()->json(['error' => $e->getMessage()], 409);
        }

        return ['ok' => true];
    });

    Route::post('/direct/{user}', function (User $user) {
        Broadcast::driver()->getPusher()->sendToUser((string) $user->id, 'hello', ['name' => $user->name]);

        return ['ok' => true];
    });
});
