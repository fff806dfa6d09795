<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Exceptions;

use RuntimeException;
use Throwable;

/** A call that the daemon refused, or that did not reach it. */
class ScopewireException extends RuntimeException
{
    /**
     * @param int $status of the HTTP answer; 0: there was none
     * @param string $error the code of the sync API, such as "invalid_value"; or "unreachable"
     * @param string|null $field the field that the daemon did not accept
     */
    public function __construct(
        string $message,
        public readonly int $status = 0,
        public readonly string $error = 'unreachable',
        public readonly ?string $field = null,
        ?Throwable $previous = null,
    ) {
        parent::__construct($message, $status, $previous);
    }
}
