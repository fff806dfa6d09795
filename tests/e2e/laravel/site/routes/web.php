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
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\Broadcast;
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

    Route::post('/direct/{user}', function (User $user) {
        Broadcast::driver()->getPusher()->sendToUser((string) $user->id, 'hello', ['name' => $user->name]);

        return ['ok' => true];
    });
});
