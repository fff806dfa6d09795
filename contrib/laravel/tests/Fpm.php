<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests;

use RuntimeException;

/**
 * The application of tests/served.php under PHP-FPM, as web servers run it.  It is in a folder of the test's, and
 * ends with stop().
 */
final class Fpm
{
    private const DEADLINE_S = 60;

    /** @var resource */
    private $process;

    private string $socket;

    /** @param  array<string, mixed>  $settings the application's configuration, in dot notation */
    public function __construct(private readonly string $folder, array $settings, int $workers = 2)
    {
        file_put_contents("$folder/settings.json", json_encode($settings, JSON_THROW_ON_ERROR));
        $this->socket = "$folder/fpm.sock";
        file_put_contents("$folder/fpm.conf", "[global]\nerror_log = $folder/fpm.log\n[site]\nlisten = $this->socket\n"
            ."pm = static\npm.max_children = $workers\nclear_env = no\n");
        $log = ['file', "$folder/fpm.log", 'a'];
        $process = proc_open([self::program(), '-F', '-R', '-y', "$folder/fpm.conf"], [['file', '/dev/null', 'r'], $log, $log], $pipes);
        if ($process === false) {
            throw new RuntimeException('php-fpm could not be started');
        }
        $this->process = $process;
        $end = microtime(true) + self::DEADLINE_S;
        // The socket's file is there before php-fpm accepts.
        while (($stream = @stream_socket_client("unix://$this->socket")) === false) {
            if (! proc_get_status($process)['running'] || microtime(true) > $end) {
                throw new RuntimeException("php-fpm did not start:\n".$this->log());
            }
            usleep(10_000);
        }
        fclose($stream);
    }

    public function log(): string
    {
        return (string) @file_get_contents("$this->folder/fpm.log");
    }

    /** The body of a page, when the whole response has arrived. */
    public function get(string $path, string $query = ''): string
    {
        return $this->finish($this->begin($path, $query));
    }

    /**
     * Sends a request, and does not wait for the response.
     *
     * @return resource for finish()
     */
    public function begin(string $path, string $query = '')
    {
        $stream = stream_socket_client("unix://$this->socket", $code, $message, self::DEADLINE_S);
        if ($stream === false) {
            throw new RuntimeException("php-fpm: $message");
        }
        stream_set_timeout($stream, self::DEADLINE_S);
        $params = '';
        foreach (['SCRIPT_FILENAME' => __DIR__.'/served.php', 'SCRIPT_NAME' => '/index.php', 'REQUEST_METHOD' => 'GET',
            'REQUEST_URI' => $path.($query === '' ? '' : "?$query"), 'QUERY_STRING' => $query, 'SERVER_PROTOCOL' => 'HTTP/1.1',
            'HTTP_HOST' => 'localhost', 'SERVED_FOLDER' => $this->folder,
            'SERVED_AUTOLOAD' => getenv('COMPOSER_AUTOLOAD') ?: __DIR__.'/../vendor/autoload.php'] as $name => $value) {
            $params .= pack('CN', strlen($name), strlen($value) | 0x80000000).$name.$value;
        }
        // FastCGI: the role of a responder, the parameters, and an empty body.
        fwrite($stream, self::record(1, pack('nCx5', 1, 0)).self::record(4, $params).self::record(4, '').self::record(5, ''));

        return $stream;
    }

    /** @param  resource  $stream */
    public function finish($stream): string
    {
        for ($text = ''; ; $text .= $type === 6 ? $content : '') {
            ['type' => $type, 'length' => $length, 'padding' => $padding] = unpack('x/Ctype/x2/nlength/Cpadding/x', $this->read($stream, 8));
            $content = $this->read($stream, $length);
            $this->read($stream, $padding);
            if ($type === 3) {
                break;
            }
        }
        fclose($stream);     // the worker waits for that
        [$head, $body] = explode("\r\n\r\n", $text, 2) + ['', ''];
        if (str_starts_with($head, 'Status:')) {
            throw new RuntimeException("$head\n$body\n".$this->log());
        }

        return $body;
    }

    public function stop(): void
    {
        if (is_resource($this->process)) {
            proc_terminate($this->process);
            proc_close($this->process);
        }
    }

    public function __destruct()
    {
        $this->stop();
    }

    /** @param  resource  $stream */
    private function read($stream, int $length): string
    {
        for ($text = ''; strlen($text) < $length; $text .= $part) {
            $part = (string) fread($stream, $length - strlen($text));
            if ($part === '') {
                throw new RuntimeException("php-fpm sent no complete response:\n".$this->log());
            }
        }

        return $text;
    }

    private static function record(int $type, string $content): string
    {
        return pack('CCnnCx', 1, $type, 1, strlen($content), 0).$content;
    }

    private static function program(): string
    {
        $name = 'php-fpm'.PHP_MAJOR_VERSION.'.'.PHP_MINOR_VERSION;
        foreach ([$name, 'php-fpm'] as $program) {
            foreach (['/usr/sbin', '/usr/local/sbin', '/usr/local/bin'] as $folder) {
                if (is_executable("$folder/$program")) {
                    return "$folder/$program";
                }
            }
        }

        throw new RuntimeException("$name is not installed");
    }
}
