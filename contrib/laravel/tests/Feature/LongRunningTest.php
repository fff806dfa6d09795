<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use Illuminate\Contracts\Http\Kernel;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\Route;
use PHPUnit\Framework\Attributes\TestDox;
use Scopewire\Laravel\Client;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\Http\Middleware\TrackPresence;
use Scopewire\Laravel\Support\EventKeys;
use Scopewire\Laravel\Tests\TestCase;

/** Several requests in one process, as Octane serves them. */
class LongRunningTest extends TestCase
{
    /** Between requests Octane drops the scoped instances and the guards' users. */
    private function request(string $path, ?int $userId): string
    {
        $this->app->forgetScopedInstances();
        Auth::forgetGuards();
        $request = Request::create($path);
        $userId === null || Auth::login($this->user($userId));
        $kernel = $this->app->make(Kernel::class);
        $response = $kernel->handle($request);
        $kernel->terminate($request, $response);

        return (string) $response->getContent();
    }

    #[TestDox('a request leaves nothing for the next: user, location, client, failures')]
    public function test_two_requests(): void
    {
        [$ada, $grace] = [$this->id(), $this->id()];
        $clients = [];
        Route::middleware(['web', TrackPresence::class.':First'])->get('/first', function () use (&$clients) {
            $clients[] = app(Client::class);
            config(['scopewire.port' => 1]);
            app()->forgetScopedInstances();
            Scopewire::presence()->setOnline(7);
            config(['scopewire.port' => self::$daemon->port()]);

            return Scopewire::token(Auth::user());
        });
        Route::middleware(['web', TrackPresence::class])->get('/second', function () use (&$clients) {
            $clients[] = app(Client::class);

            return Scopewire::token(Auth::user());
        });
        $first = $this->request('/first', $ada);
        // The pause after a failure is for all requests on purpose; here it has ended.
        cache()->flush();
        $second = $this->request('/second', $grace);
        $subject = fn (string $token) => json_decode(base64_decode(strtr(explode('.', $token)[1], '-_', '+/')), true)['sub'];
        $this->assertSame([(string) $ada, (string) $grace], [$subject($first), $subject($second)]);
        $this->assertNotSame($clients[0], $clients[1]);
        // The first one's client did not reach the daemon; the second's does.
        $this->app->forgetScopedInstances();
        $this->assertSame('/second', Scopewire::presence()->getOnlineUsers('/second')->firstWhere('user_id', $grace)['location'] ?? null);
        $this->assertFalse(app(EventKeys::class)->isInJob());
    }
}
