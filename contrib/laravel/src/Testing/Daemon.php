<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Testing;

use Illuminate\Filesystem\Filesystem;
use RuntimeException;

/**
 * A real daemon with a PostgreSQL of its own, on a free port, in a temporary folder.  It ends with
 * stop(), or with the process that started it.
 */
final class Daemon
{
    public const APP_ID = 'portal';

    public const KEY = 'portal-key';

    public const SECRET = 'portal-secret-of-the-tests';

    private const DEADLINE_S = 60;

    /** @var resource|null */
    private $process = null;

    private int $port = 0;

    /** @param  array<string, array<string, string|int>>  $sections */
    private function __construct(
        private readonly string $program,
        private readonly string $folder,
        private readonly array $sections,
    ) {
    }

    /**
     * @param array<string, array<string, string|int>> $sections of the configuration, as in its file
     * @param string|null $program by default the variable SCOPEWIRED, or scopewired in the PATH
     */
    public static function start(array $sections = [], ?string $program = null): self
    {
        $program ??= getenv('SCOPEWIRED') ?: 'scopewired';
        $folder = sys_get_temp_dir().'/scopewire-'.bin2hex(random_bytes(6));
        mkdir($folder, 0755);
        $daemon = new self($program, $folder, array_replace_recursive([
            'server' => ['host' => '127.0.0.1', 'port' => 0, 'drain_ms' => 100],
            'app '.self::APP_ID => [
                'key' => self::KEY, 'secret' => self::SECRET, 'enable_client_messages' => 'yes',
                'encryption_master_key' => base64_encode(str_repeat('k', 32)),
            ],
        ], $sections));
        $daemon->run();

        return $daemon;
    }

    public function port(): int
    {
        return $this->port;
    }

    /** What it logged. */
    public function log(): string
    {
        return (string) @file_get_contents($this->folder.'/log');
    }

    /**
     * For config('scopewire').
     *
     * @return array<string, mixed>
     */
    public function settings(): array
    {
        return [
            'app_id' => self::APP_ID, 'key' => self::KEY, 'secret' => self::SECRET, 'scheme' => 'http',
            'host' => '127.0.0.1', 'port' => $this->port, 'encryption_master_key' => base64_encode(str_repeat('k', 32)),
        ];
    }

    /**
     * A connection to its database, for config('database.connections').
     *
     * @return array<string, mixed>
     */
    public function connection(): array
    {
        return [
            'driver' => 'pgsql', 'host' => $this->folder.'/state/run', 'port' => 5432, 'database' => 'scopewire',
            'username' => 'scopewire', 'password' => '', 'charset' => 'utf8', 'search_path' => 'public',
        ];
    }

    /** It answers nothing from now on, until thaw(); its database goes on. */
    public function freeze(): void
    {
        $this->signal(SIGSTOP);
    }

    public function thaw(): void
    {
        $this->signal(SIGCONT);
    }

    public function stop(): void
    {
        if ($this->process === null) {
            return;
        }
        proc_terminate($this->process);
        $this->thaw();
        $end = microtime(true) + self::DEADLINE_S;
        while (proc_get_status($this->process)['running'] && microtime(true) < $end) {
            usleep(10_000);
        }
        proc_terminate($this->process, 9);
        proc_close($this->process);
        $this->process = null;
        (new Filesystem)->deleteDirectory($this->folder);
    }

    private function signal(int $signal): void
    {
        if ($this->process !== null) {
            proc_terminate($this->process, $signal);
        }
    }

    public function __destruct()
    {
        $this->stop();
    }

    private function run(): void
    {
        $text = '';
        foreach ($this->sections as $name => $options) {
            $text .= "[$name]\n";
            foreach ($options as $option => $value) {
                $text .= "$option = $value\n";
            }
        }
        $config = $this->folder.'/scopewire.conf';
        file_put_contents($config, $text);
        chmod($config, 0600);
        $output = ['file', $this->folder.'/log', 'a'];
        $process = proc_open([$this->program, '--config', $config, '--embedded-postgres', $this->folder.'/state'],
            [['file', '/dev/null', 'r'], $output, $output], $pipes);
        if ($process === false) {
            throw new RuntimeException("$this->program could not be started");
        }
        $this->process = $process;
        $end = microtime(true) + self::DEADLINE_S;
        while (! preg_match('/ready: listening on \S+:(\d+)/', $this->log(), $found)) {
            if (! proc_get_status($process)['running'] || microtime(true) > $end) {
                throw new RuntimeException("$this->program did not become ready. Its log:\n".$this->log());
            }
            usleep(10_000);
        }
        $this->port = (int) $found[1];
    }
}
